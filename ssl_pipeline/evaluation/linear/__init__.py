"""Evaluate the exported embeddings by linear probes and nearest neighbours, in comparison with baselines."""
