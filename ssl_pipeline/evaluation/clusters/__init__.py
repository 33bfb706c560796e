"""Clusters of the exported embeddings: their stability, and their agreement with the classes."""
