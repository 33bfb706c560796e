"""pretext.onnx: from pixels to what the pretext task predicts or projects."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.augment.geometry import fit
from ssl_pipeline.data.store import Split
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.onnx_file import write_graph
from ssl_pipeline.types import PretextTask

__all__ = ["PixelsToPrediction", "write_pretext_graph"]

TOLERANCE = 1e-4
"""Largest difference between torch and onnxruntime, as a share of the largest component."""


class PixelsToPrediction(nn.Module):
    """A pretext task's prediction as a function of pixels.

    Args:
        task: Trained.
        size: Side in px of the images that it was trained on.
        resize: How other shapes are brought to it.
        background: RGB of letterbox borders, 0 to 255.
    """

    def __init__(self, task: PretextTask, size: int, resize: str, background: tuple[int | float, ...]):
        super().__init__()
        self.task, self.size, self.resize, self.background = task, size, resize, background

    def forward(self, images: Tensor) -> Tensor:
        """Predict from images (N, H, W, 3) uint8."""
        return self.task.predict(fit(images, self.size, self.resize, self.background))


def write_pretext_graph(task: PretextTask, card: ModelCard, pool: Split, path: Path) -> None:
    """Export, and compare with torch on images of the pool at two shapes.

    Args:
        task: Trained; is left in eval mode on the CPU.
        card: How images are brought to the trained size.
        pool: Images to compare on.
        path: Where the graph goes.

    Raises:
        PipelineError: The graph computes something else than torch.
    """
    module = PixelsToPrediction(task.cpu(), card.size, card.resize, card.background).eval()
    whole = torch.from_numpy(pool.images(np.arange(min(4, len(pool)))))
    batch, height, width = (torch.export.Dim(name, min=1) for name in ("batch", "height", "width"))
    metadata: Mapping[str, str] = {
        "input": "images: uint8 (N, H, W, 3) RGB, 0 to 255",
        "output": f"what pretext task '{card.recipe.pretext_task.name}' predicts or projects",
        "size": str(card.size),
        "resize": card.resize,
        "weights_sha256": card.weights_sha256,
        "params_sha256": card.params_sha256,
    }
    write_graph(
        module,
        (whole,),
        path,
        input_names=["images"],
        output_names=["prediction"],
        dynamic_shapes=({0: batch, 1: height, 2: width},),
        metadata=metadata,
        images=["images"],
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for images in (whole, whole[:1, : pool.canvas // 2 + 1]):
        with torch.no_grad():
            wanted = module(images).numpy()
        (found,) = session.run(["prediction"], {"images": images.numpy()})
        difference = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        if not difference <= TOLERANCE:
            raise PipelineError(
                f"{path.name} differs from torch by {difference:.2g} of its largest component on images of shape "
                f"{tuple(images.shape)}: pretext task '{card.recipe.pretext_task.name}' has an operation that does not "
                "export exactly. Report it to the author of the task."
            )
