"""What users subclass: actors and tasks."""
