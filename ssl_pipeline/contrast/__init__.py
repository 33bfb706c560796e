"""Similarities of anchors and keys, and their sums: the basis of losses with negatives."""
