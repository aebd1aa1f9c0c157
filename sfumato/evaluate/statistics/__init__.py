"""What chance does to a number: intervals over seeds and rows, and the power of the tests that use them."""
