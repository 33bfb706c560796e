"""Find the images in a folder that are most similar to one image: python nearest.py backbone.onnx photo.jpg folder/

Needs only numpy, Pillow and onnxruntime.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

model, query, folder = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
background = tuple(json.loads(session.get_modelmeta().custom_metadata_map["background"]))


def read(path):
    """Read an image as in training: rotated upright, transparent pixels on the background, 16 bits reduced to 8."""
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
    return np.asarray(image.convert("RGB"))  # uint8, any height and width


def embed(path):
    embedding = session.run(["embedding"], {"images": read(path)[None]})[0][0]
    return embedding / np.linalg.norm(embedding)


suffixes = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}
paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in suffixes)
cosines = np.stack([embed(path) for path in paths]) @ embed(query)
for place in np.argsort(-cosines)[:5]:
    print(f"{cosines[place]:.3f}  {paths[place]}")
