"""Measurements: each script prints what it measured, in one run, with its command."""
