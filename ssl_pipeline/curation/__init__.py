"""What embeddings reveal about the images: which are duplicated, odd or wrongly labelled, and which to label next."""
