"""One page about a run: what was found, the images on a map of their embeddings, and how to repeat it."""
