"""Large photographs through backbone.onnx: `python -m benchmarks.large_photographs`.

A ResNet-18 receives photographs at full size, which its graph resizes. It is compared with the same session on
photographs that Pillow has resized before. The two take turns in one process with one thread. Memory is the peak that a
run needs in addition to the photograph, in bytes per byte of the photograph, with a separate process for each point
(Linux).
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from benchmarks.interleaved import faster, machine
from benchmarks.project import environment
from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.card import ModelCard, versions
from ssl_pipeline.config import Choice
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.deployment.runtime import open_session
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.types import Encoder

SHAPES, SIDES = ((3000, 4000), (900, 1200)), (96, 224)
MEMORY = """
import ctypes, sys
from pathlib import Path
import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
image = np.zeros((1, int(sys.argv[2]), int(sys.argv[3]), 3), np.uint8) + np.uint8(1)
session.run(None, {"images": np.ascontiguousarray(image[:, :32, :32])})
ctypes.CDLL("libc.so.6").malloc_trim(0)  # or the run could reuse, unnoticed, what loading has freed
Path("/proc/self/clear_refs").write_text("5")  # reset the peak
held = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
before = held()
session.run(None, {"images": image})
print(held() - before)
"""


def describe(encoder: Encoder, backbone: Choice, side: int) -> ModelCard:
    """Return the model card of an encoder with random weights, for images of a side in px."""
    return ModelCard(
        backbone=backbone,
        recipe=Recipe(name="rotation", pretext_task=Choice(name="rotation")),
        embedding_dim=encoder.embedding_dim,
        size=side,
        resize="squash",
        background=(255, 255, 255),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        seed=0,
        batch_size=256,
        weights_sha256="",
        params_sha256="",
        plugins={},
        versions=versions(),
    )


def export(side: int, path: Path) -> None:
    """Write backbone.onnx of a ResNet-18 with random weights."""
    choice = Choice(name="torchvision/resnet18")
    encoder = build_encoder(load_registry(), choice, (0.5,) * 3, (0.5,) * 3, 0, side)
    export_backbone(encoder, describe(encoder, choice, side), path, l2_normalize=True, opset=18)


def photograph(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return an enlarged photograph (H, W, 3), uint8."""
    return np.asarray(Image.fromarray(load_sample_image("china.jpg")).resize((width, height)))


def times(session: onnxruntime.InferenceSession, image: npt.NDArray[np.uint8], side: int, rounds: int) -> None:
    """Print how many times as fast the graph alone is as resizing with Pillow before the graph."""

    def run(given: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        embeddings: npt.NDArray[np.float32] = session.run(None, {"images": given[None]})[0]
        return embeddings

    def resized() -> npt.NDArray[np.float32]:
        small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
        return run(np.asarray(small))

    cosine = float((run(image) * resized()).sum())
    found = faster(lambda: run(image), resized, rounds, time.process_time)
    line = {"what": "time", "photograph": f"{image.shape[1]}x{image.shape[0]}", "side": side, **found}
    print(json.dumps(line | {"cosine": round(cosine, 5)}), flush=True)


def memory(path: Path, height: int, width: int) -> None:
    """Print the memory that a run needs in addition to its photograph."""
    words = [sys.executable, "-c", MEMORY, str(path), str(height), str(width)]
    said = subprocess.run(words, env=environment(), check=True, stdout=subprocess.PIPE, text=True).stdout
    held, least = json.loads(said), height * width * 3
    side = int(path.stem)
    line = {"what": "memory", "photograph": f"{width}x{height}", "side": side, "MiB": round(held / 2**20, 1)}
    print(json.dumps(line | {"ratio": round(held / least, 2)}), flush=True)


@click.command()
@click.option("--rounds", default=7)
def main(rounds: int) -> None:
    """Print ratios of times, and memory, for each size of photographs and each side."""
    torch.set_num_threads(1)
    print(json.dumps(machine() | {"date": time.strftime("%Y-%m-%d")}), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES:
            path = Path(folder, f"{side}.onnx")
            export(side, path)
            for height, width in SHAPES:
                times(open_session(path, threads=1), photograph(height, width), side, rounds)
                memory(path, height, width)


if __name__ == "__main__":
    main()
