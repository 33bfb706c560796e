"""The exported embeddings under linear probes and nearest neighbours, beside what they must beat."""
