"""From a trained encoder to verified ONNX graphs, and running them."""
