"""A new version goes live, or back, and nobody knows which one runs."""
