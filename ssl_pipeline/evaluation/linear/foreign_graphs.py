"""Running ONNX graphs of image encoders that others exported, in the two forms that are common."""

from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from ssl_pipeline.augment.geometry import fit
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.evaluation.features import Embed
from ssl_pipeline.types import Inputs

__all__ = ["embed_with"]

_BATCH = 256

Features = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def embed_with(session: onnxruntime.InferenceSession, expected: Inputs) -> Embed:
    """Return what a graph makes of canvases, whichever of these its input is:

    - uint8 [N, H, W, 3], RGB, of any height and width, as this project's own: canvases are given as they are;
    - float32 [N, 3, H, W], normalised, as timm's and torchvision's users export: canvases are resized to its height and
      width, or where these may be any to those of `expected`, and normalised by the mean and std of `expected`.

    N may be any number, or fixed to 1. The output is the graph's first of two dimensions.

    Args:
        session: Session of the graph.
        expected: What images look like to a graph of the second kind.

    Raises:
        PipelineError: The graph has another input, several, or no output [N, D].
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    rows = next((node.name for node in outputs if len(node.shape) == 2), None)
    if len(inputs) != 1 or rows is None:
        raise PipelineError(
            f"its graph has {len(inputs)} inputs and {'no' if rows is None else 'an'} output [N, D]; to be compared it "
            "needs one input, and such an output."
        )
    name, kind, shape = inputs[0].name, inputs[0].type, inputs[0].shape
    raw = kind == "tensor(uint8)" and len(shape) == 4 and shape[3] == 3 and not any(map(_fixed, shape[1:3]))
    normalised = kind == "tensor(float)" and len(shape) == 4 and shape[1] == 3
    size = next(filter(_fixed, shape[2:]), expected.size)
    square = all(side == size for side in shape[2:] if _fixed(side))
    if (raw or (normalised and square)) and (shape[0] == 1 or not _fixed(shape[0])):
        batch = 1 if shape[0] == 1 else _BATCH
        return _Graph(session, name, rows, batch, None if raw else expected._replace(size=size))
    raise PipelineError(
        f"its input is {kind.removeprefix('tensor(').removesuffix(')')} {shape}; what is taken is uint8 [N, H, W, 3] "
        "(pixels, any size) or float [N, 3, S, S] (normalised as for ImageNet), for any N or for 1."
    )


@dataclass(frozen=True)
class _Graph:
    """A graph as a function of canvases.

    Attributes:
        session: Session of the graph.
        name: Name of its input.
        rows: Name of its output.
        batch: Images at a time.
        expected: How canvases are resized and normalised; None: not at all.
    """

    session: onnxruntime.InferenceSession
    name: str
    rows: str
    batch: int
    expected: Inputs | None

    def __call__(self, images: Pixels) -> Features:
        """Embed canvases (n, C, C, 3): (n, D)."""
        if not len(images):  # a graph need not say how long its rows are
            return self(np.zeros((1, *images.shape[1:]), np.uint8))[:0]
        starts = range(0, len(images), self.batch)
        return np.concatenate([self._run(images[start : start + self.batch]) for start in starts])

    def _run(self, images: Pixels) -> Features:
        given: npt.NDArray[np.uint8] | Features = images
        if self.expected is not None:
            size, *statistics = self.expected
            mean, std = (torch.tensor(value).reshape(3, 1, 1) for value in statistics)
            given = ((fit(torch.from_numpy(images), size, "squash", (0, 0, 0)) - mean) / std).numpy()
        features: Features = self.session.run([self.rows], {self.name: given})[0]
        return features.astype(np.float32, copy=False)


def _fixed(side: object) -> TypeGuard[int]:
    """Say whether a dimension is a number, not a name for any."""
    return isinstance(side, int)
