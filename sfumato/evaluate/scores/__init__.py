"""From files and arrays of scores to columns with one number a row, which is all that a metric reads."""
