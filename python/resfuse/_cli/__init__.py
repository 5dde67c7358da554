"""What the command ``resfuse`` does, one concern a file; ``app`` holds its options."""
