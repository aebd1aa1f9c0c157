"""Where the runs of a comparison are trained: processes here, ranks of torchrun, or tasks on Ray."""
