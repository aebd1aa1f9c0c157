"""The audit of a model: findings with numbers, intervals and advice."""
