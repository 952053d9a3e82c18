"""The checks: one module per obstacle, each function states a bad state of the machine."""
