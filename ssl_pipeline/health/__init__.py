"""Health of a run: figures of its curves and embeddings, and the findings that they lead to."""
