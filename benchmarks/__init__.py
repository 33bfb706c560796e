"""Measurements: each script prints what it measured, in one run, with its command."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as ssl_pipeline does, for scripts that import onnxruntime first
