"""Negative-sampling strategies: which incompatible pairs count, and how much."""
