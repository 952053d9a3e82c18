"""Answers come too slowly."""
