"""Training one model: the loop, the early stop, and the losses that need more than logits and labels."""
