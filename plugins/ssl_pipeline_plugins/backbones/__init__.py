"""Backbones: from normalised images to embeddings."""
