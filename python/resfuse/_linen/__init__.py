"""What ``resfuse.linen`` is made of."""
