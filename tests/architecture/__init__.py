"""What keeps the house in order: layers, circles, the size and the names of files and classes, the
public face.

``package`` reads the source, ``layers`` is the table of who may import whom, ``debts`` compares
both with ``debts.txt``, the list of what is not yet as it should be. ``public_names`` compares the
package with ``public_names.txt``. ``python -m tests.architecture --help`` says what can be printed
and written.
"""
