"""From any pile of images to a store: sources, decoding, splits, an audit."""
