"""Allocator fragmentation ends in out-of-memory, and the settings against it are easily written wrong."""
