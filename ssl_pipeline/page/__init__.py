"""One page about a run: its findings, a map of its images by embedding, and how to reproduce it."""
