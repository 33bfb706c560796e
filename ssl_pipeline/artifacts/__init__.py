"""Trained models as files: the card and the weights, and rebuilding networks from them."""
