"""What a loss does beside having a target: rows, arithmetic, and other arguments."""
