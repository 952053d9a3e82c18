"""One module per obstacle, each named after it."""
