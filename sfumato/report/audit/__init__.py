"""The audit as a letter and as a page."""
