"""From files and arrays of scores to columns with one number per row, which are all that a metric reads."""
