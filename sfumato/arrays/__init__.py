"""Arrays in files: archives that may come from anyone are read with care, and files are written whole or not at all."""
