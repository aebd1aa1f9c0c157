"""Recover a target from gradients, and what it is made of: of a loss at chosen logits, and of rows as they come."""
