"""The metrics: each file computes one family of numbers from columns; ``registry`` names and defines them all."""
