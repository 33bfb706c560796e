"""Build a store from images: sources, decoding, splits and an audit."""
