"""Losses that train a student towards a teacher: called with the logits of both, and read off their gradients."""
