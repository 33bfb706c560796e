"""What `ssl_pipeline` offers to programs of one's own; its names are loaded when they are first asked for."""
