"""Curation by embeddings: which images are duplicated, odd or wrongly labelled, and which to label next."""
