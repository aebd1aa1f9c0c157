"""What a trainer really does, detected from the gradients that reach a model's logits while it trains."""
