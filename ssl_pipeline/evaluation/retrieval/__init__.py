"""Images found by text and texts by image: retrieval both ways, and classification by the names of classes."""
