"""Pretext tasks: what is learned from."""
