"""Find a loss by its name, find out how it wants to be called, and call it."""
