"""One file a field of software: the formula of each framework's loss, as data."""
