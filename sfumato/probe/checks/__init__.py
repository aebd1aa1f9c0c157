"""What a loss does beside having a target: its rows, its labels, its arithmetic, and its other arguments."""
