"""Exporting the trained encoder to ONNX files, and proving that they compute the same."""
