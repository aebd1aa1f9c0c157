"""The run folder: its schema, how it is written whole or not at all, and how it is read."""
