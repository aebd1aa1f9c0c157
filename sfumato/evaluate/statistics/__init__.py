"""Intervals over seeds and rows, tests, margins, and the power of the tests."""
