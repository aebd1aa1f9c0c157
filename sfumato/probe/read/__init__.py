"""Read a target off gradients, and what it is made of."""
