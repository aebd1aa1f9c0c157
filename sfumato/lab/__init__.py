"""The lab: data, models, the training loop, paired comparisons and the folder that a run leaves behind."""
