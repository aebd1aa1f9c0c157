"""The compiled CPU kernel: the library, the jobs it is given, and memory for what it fills."""
