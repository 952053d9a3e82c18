"""Weights and images load slowly or do not fit."""
