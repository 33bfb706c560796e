"""Similarities of anchors and keys, and their sums: what losses with negatives rest on."""
