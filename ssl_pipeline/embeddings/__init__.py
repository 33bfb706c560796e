"""Embeddings of any number of images as a file, and search for the nearest ones. Nothing here imports torch."""
