"""What a trainer really does, read off the gradients that reach a model's logits while it trains."""
