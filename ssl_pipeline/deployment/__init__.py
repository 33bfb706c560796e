"""From the trained encoder to ONNX files, and the proof that they compute the same."""
