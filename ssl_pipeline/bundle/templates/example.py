"""Embed images: python example.py photo.jpg other.jpg (or .npy arrays (H, W, C) if the bands are not RGB)."""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: onnxruntime would report to Microsoft

import numpy as np
import onnxruntime
from PIL import Image, ImageCms, ImageOps

model = str(Path(__file__).with_name("backbone.onnx"))
try:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    background = tuple(json.loads(session.get_modelmeta().custom_metadata_map["background"]))
except Exception as error:  # onnxruntime's exceptions share no narrower base
    sys.exit(f"error: {model} cannot be used ({error}): keep example.py in its bundle, and run verify.py there")


def read(path):
    """Read an image as in training: upright, transparent pixels on the background, 16 and 32 bits reduced to 8."""
    if path.endswith(".npy"):
        return np.load(path)
    image = Image.open(path)
    of_16_bits = image.format in ("PNG", "PPM")
    image = ImageOps.exif_transpose(image)
    if image.mode == "F" or (image.mode == "I" and not of_16_bits):  # 32-bit greyscale
        values = np.asarray(image).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("it contains values that are not finite")
        low, high = values.min(), values.max()
        if image.mode == "F" and low >= 0 and high <= 1:
            low, high = 0, 1
        image = Image.fromarray(np.floor((values - low) * (255 / ((high - low) or 1)) + 0.5).astype(np.uint8))
    elif image.mode.startswith("I"):  # 16-bit greyscale
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    elif image.mode == "LAB":
        profiles = [ImageCms.createProfile(name) for name in ("LAB", "sRGB")]
        image = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image)
    return np.asarray(image.convert("RGB"))


def embed(path):
    """Return the embedding of a file (1, D), or end the program if it has none."""
    try:
        return session.run(["embedding"], {"images": read(path)[None]})[0]
    except Exception as error:  # of Pillow, numpy or onnxruntime
        sys.exit(f"error: {path} cannot be embedded: {error}")


if len(sys.argv) < 2:
    print(__doc__, file=sys.stderr)
    sys.exit(2)
embeddings = np.concatenate([embed(path) for path in sys.argv[1:]])
embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
for number, path in enumerate(sys.argv[1:]):
    print(f"{embeddings[number] @ embeddings[0]:.4f}  {path}")  # cosine with the first image
