"""Reading and writing files: arrays and tables that may come from anyone, and files written whole or not at all."""
