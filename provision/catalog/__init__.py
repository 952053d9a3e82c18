"""Measured tables, one file each, every row with its source and date."""
