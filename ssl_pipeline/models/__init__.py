"""The encoder, heads on top of it, how to rebuild them from disk, and how spread their embeddings are."""
