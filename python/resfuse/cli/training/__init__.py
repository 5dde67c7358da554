"""``resfuse train``: networks, steps, checkpoints, and what a run tells of itself."""
