"""The clusters of the exported embeddings: how stable they are, and how they agree with the classes."""
