"""One finished comparison as tables, figures and a page."""
