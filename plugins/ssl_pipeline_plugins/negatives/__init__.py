"""Negative-sampling strategies: the choice of incompatible pairs, and their weights."""
