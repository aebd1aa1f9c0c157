"""The commands as Python functions, whose results print, show their page and give a frame."""
