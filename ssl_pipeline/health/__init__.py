"""Signs of trouble: figures of a run and of its embeddings, and what these say."""
