"""``provision disk``: what a path stands on, how fast it is read the way models are loaded, and what that means for a model."""
