"""Too little GPU or host memory for the weights, the cache and the work."""
