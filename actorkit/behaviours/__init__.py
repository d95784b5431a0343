"""What people write and hold: ``Actor``, the class to subclass, and ``Task``, the handle of a
function that runs as a process."""
