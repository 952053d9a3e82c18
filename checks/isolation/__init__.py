"""Weights or user data leak."""
