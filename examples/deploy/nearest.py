"""Find the images of a folder that are most like one: python nearest.py backbone.onnx photo.jpg folder/

Needs numpy, Pillow and onnxruntime, and nothing of ours.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

model, query, folder = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def embed(path):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")  # the graph resizes and normalises
    embedding = session.run(["embedding"], {"images": np.asarray(image)[None]})[0][0]
    return embedding / np.linalg.norm(embedding)


paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})
cosines = np.stack([embed(path) for path in paths]) @ embed(query)
for place in np.argsort(-cosines)[:5]:
    print(f"{cosines[place]:.3f}  {paths[place]}")
