"""Find the images in a folder that are most similar to one image: python nearest.py backbone.onnx photo.jpg folder/

Needs only numpy, Pillow and onnxruntime.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: onnxruntime would report to Microsoft

import numpy as np
import onnxruntime
from PIL import Image, ImageCms, ImageOps

if len(sys.argv) != 4:
    print(__doc__, file=sys.stderr)
    sys.exit(2)
model, query, folder = sys.argv[1:]
try:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    background = tuple(json.loads(session.get_modelmeta().custom_metadata_map["background"]))
    if not {"images", "embedding"} <= {part.name for part in [*session.get_inputs(), *session.get_outputs()]}:
        raise ValueError("it does not compute embeddings of images")
except Exception as error:  # onnxruntime's exceptions share no narrower base
    sys.exit(f"error: {model} cannot be used ({error}): name a backbone.onnx, such as models/bundle/backbone.onnx")


def read(path):
    """Read an image as in training: upright, transparent pixels on the background, 16 and 32 bits reduced to 8."""
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
    return np.asarray(image.convert("RGB"))  # uint8, any height and width


def embed(path):
    """Return the embedding of an image file, or None if it cannot be read."""
    try:
        embedding = session.run(["embedding"], {"images": read(path)[None]})[0][0]
    except Exception as error:  # of Pillow or onnxruntime
        print(f"{path} is left out: {error}", file=sys.stderr)
        return None
    return embedding / np.linalg.norm(embedding)


wanted = embed(query)
if wanted is None or not Path(folder).is_dir():
    sys.exit(f"error: {query} must be an image, and {folder} a folder of images")
suffixes = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}
paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in suffixes)
cosines = {path: found @ wanted for path in paths if (found := embed(path)) is not None}
for path in sorted(cosines, key=lambda path: -cosines[path])[:5]:
    print(f"{cosines[path]:.3f}  {path}")
