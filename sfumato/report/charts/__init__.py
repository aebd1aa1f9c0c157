"""The figures of the report pages: each function returns an axis, its numbers, and the figure in words."""
