"""Compare images with texts: python example_text.py "a red bicycle" photo.jpg other.jpg (pip install tokenizers)"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: onnxruntime would report to Microsoft

import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from tokenizers import Tokenizer

if len(sys.argv) < 3:
    print(__doc__, file=sys.stderr)
    sys.exit(2)
folder = Path(__file__).parent
try:
    images, texts = (
        onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
        for name in ("backbone.onnx", "text.onnx")
    )
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))  # lower-cases, truncates and pads
    background = tuple(json.loads(images.get_modelmeta().custom_metadata_map["background"]))
except Exception as error:  # the exceptions of onnxruntime and tokenizers share no narrower base
    sys.exit(f"error: {folder} cannot be used ({error}): keep example_text.py in its bundle, and run verify.py there")


def read(path):
    """Read an 8-bit image, rotated upright, transparent pixels on the background; example.py reads further formats."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image).convert("RGB"))


def readable(text):
    """Return a command-line text with question marks in place of bytes that are not UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def unit(rows):
    """Return the rows, scaled to unit length."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


text, *paths = sys.argv[1:]
encoded = tokenizer.encode(readable(text))
given = {"tokens": np.array([encoded.ids]), "mask": np.array([encoded.attention_mask])}
(asked,) = unit(texts.run(["embedding"], given)[0])
for path in paths:
    try:
        (found,) = unit(images.run(["embedding"], {"images": read(path)[None]})[0])
    except Exception as error:  # of Pillow or onnxruntime
        sys.exit(f"error: {readable(path)} cannot be embedded: {error}")
    print(f"{found @ asked:.4f}  {readable(path)}")  # the higher, the better the text describes the image
