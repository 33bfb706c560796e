"""Evaluation with text: retrieval of images by text and of texts by image, and zero-shot classification."""
