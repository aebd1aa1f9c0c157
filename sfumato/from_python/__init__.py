"""What the commands do, as functions of Python: each drives the lab and the report, and gives a result to look at."""
