"""Embed images: python example.py photo.jpg other.jpg (or .npy arrays (H, W, C) if the bands are not RGB)."""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: onnxruntime would report to Microsoft

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

model = str(Path(__file__).with_name("backbone.onnx"))
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
background = tuple(json.loads(session.get_modelmeta().custom_metadata_map["background"]))


def read(path):
    """Read an image as in training: rotated upright, transparent pixels on the background, 16 bits reduced to 8."""
    if path.endswith(".npy"):
        return np.load(path)
    image = Image.open(path)
    of_16_bits = image.format in ("PNG", "PPM")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("F", "LAB") or (image.mode == "I" and not of_16_bits):
        raise ValueError(f"{path}: the range of values of mode {image.mode} is unknown; save the image with 8 bits")
    if image.mode.startswith("I"):  # 16-bit greyscale
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image)
    return np.asarray(image.convert("RGB"))


def embed(path):
    """Return the embedding of a file (1, D), or end the program if it cannot be read."""
    try:
        return session.run(["embedding"], {"images": read(path)[None]})[0]
    except (OSError, ValueError) as error:
        sys.exit(f"error: {path} cannot be read as an image: {error}")


if len(sys.argv) < 2:
    print(__doc__, file=sys.stderr)
    sys.exit(2)
embeddings = np.concatenate([embed(path) for path in sys.argv[1:]])
embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
for number, path in enumerate(sys.argv[1:]):
    print(f"{embeddings[number] @ embeddings[0]:.4f}  {path}")  # cosine with the first image
