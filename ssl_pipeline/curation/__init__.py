"""What embeddings tell of the images: which are doubled, odd or wrongly labelled, and which to label next."""
