"""Running third-party ONNX graphs of image encoders, in the two common forms."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn

from ssl_pipeline.augment.geometry import fit
from ssl_pipeline.data.image_spec import RGB8, ImageSpec, Pixels
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.types import Inputs

__all__ = ["Embed", "Form", "ShownAsRgb", "embed_with", "form_of"]

_BATCH_SIZE = 256

Features = npt.NDArray[np.float32]
Embed = Callable[[Pixels], Features]
"""Function from canvases (n, S, S, C) to features (n, D) float32, row by row; n may be 0."""
_ONNX_TYPES = {"uint8": "uint8", "uint16": "uint16", "float32": "float"}


class Form(NamedTuple):
    """Input and output of a graph.

    Attributes:
        name: Name of its input.
        rows: Name of its output [N, D].
        batch: Number of images to give it at a time.
        pixels: Whether it takes raw pixels; otherwise it takes normalised images.
        size: Side in px of the normalised images that it takes, None if it takes any size or raw pixels.
    """

    name: str
    rows: str
    batch: int
    pixels: bool
    size: int | None


def form_of(session: onnxruntime.InferenceSession, spec: ImageSpec = RGB8) -> Form:
    """Return the form of a graph, which is one of two:

    - [N, H, W, C] of the canvases' type, such as uint8 and RGB, of any height and width, as this project exports;
    - float32 [N, 3, H, W], normalised, as users of timm and torchvision export.

    N may be any number, or fixed to 1. The output is the graph's first one with two dimensions.

    Args:
        session: Session of the graph.
        spec: Meaning of the canvases' values.

    Raises:
        PipelineError: The graph has another input, several inputs, or no output [N, D].
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    rows = next((node.name for node in outputs if len(node.shape) == 2), None)
    if len(inputs) != 1 or rows is None:
        raise PipelineError(
            f"its graph has {len(inputs)} inputs and {'no' if rows is None else 'an'} output [N, D]; it needs one "
            "input and one such output."
        )
    name, kind, shape = inputs[0].name, inputs[0].type, inputs[0].shape
    own = f"tensor({_ONNX_TYPES[spec.dtype]})"
    raw = kind == own and len(shape) == 4 and shape[3] == spec.channels and not any(map(_fixed, shape[1:3]))
    normalised = kind == "tensor(float)" and len(shape) == 4 and shape[1] == 3
    sides = [side for side in shape[2:] if _fixed(side)] if normalised else []
    if (raw or (normalised and len(set(sides)) < 2)) and (shape[0] == 1 or not _fixed(shape[0])):
        return Form(name, rows, 1 if shape[0] == 1 else _BATCH_SIZE, raw, None if raw or not sides else sides[0])
    raise PipelineError(
        f"its input is {kind.removeprefix('tensor(').removesuffix(')')} {shape}; it must be {spec.dtype} "
        f"[N, H, W, {spec.channels}] (pixels, any size) or float [N, 3, S, S] "
        "(normalised as for ImageNet), for any N or for 1."
    )


def embed_with(session: onnxruntime.InferenceSession, expected: Inputs, spec: ImageSpec = RGB8) -> Embed:
    """Return a function that embeds canvases with a graph in either of its two forms; see `form_of`.

    A graph of pixels gets the canvases unchanged. For a graph of normalised images they are shown as RGB, resized to
    the graph's height and width (or to the size of `expected` if the graph takes any), and normalised by the mean and
    std of `expected`.

    Args:
        session: Session of the graph.
        expected: Inputs that a graph of the second form expects.
        spec: Meaning of the canvases' values.

    Raises:
        PipelineError: The graph has neither form, or it has the second one and it is unknown which bands of the
            canvases are red, green and blue.
    """
    form = form_of(session, spec)
    prepared = None if form.pixels else (ShownAsRgb(spec), expected._replace(size=form.size or expected.size))
    return _Graph(session, form.name, form.rows, form.batch, spec, prepared)


class ShownAsRgb(nn.Module):
    """Conversion of images to RGB: their red, green and blue bands, or their only band three times.

    Args:
        spec: Meaning of the images' values.

    Raises:
        PipelineError: It is unknown which bands are red, green and blue.
    """

    def __init__(self, spec: ImageSpec):
        super().__init__()
        if spec.rgb is None and spec.channels > 1:
            raise PipelineError(
                f"it takes RGB images, but these are {spec}, and it is unknown which bands are red, green and blue: "
                "name them in ingest.pixels, such as `rgb: [3, 2, 1]`, or leave this encoder out."
            )
        self.bands = list(spec.rgb or (0, 0, 0))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, S, S) to (N, 3, S, S)."""
        return images[:, self.bands]


@dataclass(frozen=True)
class _Graph:
    """A graph as a function of canvases.

    Attributes:
        session: Session of the graph.
        name: Name of its input.
        rows: Name of its output.
        batch: Number of images at a time.
        spec: Meaning of the canvases' values.
        prepared: Conversion of canvases to RGB, and the size, mean and std they are brought to; None leaves them alone.
    """

    session: onnxruntime.InferenceSession
    name: str
    rows: str
    batch: int
    spec: ImageSpec
    prepared: tuple[ShownAsRgb, Inputs] | None

    def __call__(self, images: Pixels) -> Features:
        """Return embeddings (n, D) of canvases (n, S, S, C)."""
        if not len(images):  # a graph need not state the length of its rows
            return self(np.zeros((1, *images.shape[1:]), images.dtype))[:0]
        starts = range(0, len(images), self.batch)
        return np.concatenate([self._run(images[start : start + self.batch]) for start in starts])

    def _run(self, images: Pixels) -> Features:
        given: Pixels = images
        if self.prepared is not None:
            shown, (size, *statistics) = self.prepared
            mean, std = (torch.tensor(value).reshape(3, 1, 1) for value in statistics)
            background = (self.spec.low,) * self.spec.channels
            fitted = fit(torch.from_numpy(images), size, "squash", background, self.spec)
            given = ((shown(fitted) - mean) / std).numpy()
        features: Features = self.session.run([self.rows], {self.name: given})[0]
        return features.astype(np.float32, copy=False)


def _fixed(side: object) -> TypeGuard[int]:
    """Return whether a dimension is a number instead of the name of a free one."""
    return isinstance(side, int)
