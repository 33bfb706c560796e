"""The functions and classes that `ssl_pipeline` offers to other programs; each is imported on first use."""
