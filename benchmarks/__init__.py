"""Benchmarks and studies: each script reproduces its measurements with a single command and prints them."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as in ssl_pipeline, for scripts that import onnxruntime first
