"""What ``resfuse.nnx`` is made of."""
