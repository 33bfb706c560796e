"""Trained models as files: the card, the weights, and how both become networks again."""
