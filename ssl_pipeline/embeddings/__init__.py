"""Embeddings of any number of images as a file, and what is nearest in it. Nothing here imports torch."""
