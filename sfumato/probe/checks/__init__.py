"""What a loss does besides having a target: its rows, its labels, its arithmetic, and its other arguments."""
