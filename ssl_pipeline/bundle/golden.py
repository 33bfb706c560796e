"""Golden inputs and outputs: a graph's results on the machine that made it, to be reproduced wherever it runs.

The inputs are generated from a hash: they contain nobody's images and are the same everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from ssl_pipeline.bundle.golden_texts import GOLDEN_TEXTS, text_cases
from ssl_pipeline.bundle.verify import compare
from ssl_pipeline.data.image_spec import ImageSpec, Pixels
from ssl_pipeline.deployment.runtime import TEXT, images_of, open_session, read_metadata
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.randomness import hash64
from ssl_pipeline.remedies import remake

__all__ = ["Golden", "Precision", "golden_of", "precision_of"]

Precision = Literal["fp32", "fp16", "int8"]


class Tolerance(NamedTuple):
    """Largest deviation of a graph's outputs on another machine from those on the machine that made it.

    Attributes:
        max_difference: Largest difference, in units of the largest component of a row.
        min_cosine: Smallest cosine between two rows.
    """

    max_difference: float
    min_cosine: float


EXACT = Tolerance(1e-4, 0.99999)
"""Tolerance of a graph in float32."""
_ROUNDED_AGAIN, _APART = 2.0, 0.5
"""Tolerance of a graph in fewer bits, as a multiple of its distance from float32: other instructions round differently,
but their error is no larger than that of rounding itself. The second factor caps the tolerance, as a share of the
distance between the rows of the two most similar golden images: beyond it, one could be mistaken for the other."""

_MOST_VALUES = 20_000
"""Number of values stored per output row; feature maps have millions."""
_INTEGERS = {"QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearConv", "QLinearMatMul"}
_OF_CLASSES = {"probabilities"}
"""Outputs that may be equal for different images: a confident classifier assigns all noise to one class."""
_LEVELS = 32
_SIDE = 128
"""Upper bound on the short side of images, in px, for graphs that take any size; larger ones only bloat the bundle."""


@dataclass(frozen=True)
class Golden:
    """Golden inputs and outputs of one graph.

    Attributes:
        precision: Precision in which the graph computes.
        cases: Names of the arrays of each case: input -> array, and output -> array.
        every: Output -> stride of the stored values of a row: 1 for all of them, 2 for every second one, and so on.
        arrays: Name -> array.
        tolerance: Largest deviation from these outputs on another machine.
        texts: Texts of all cases in order, for a graph that takes tokens.
    """

    precision: Precision
    cases: list[dict[str, dict[str, str]]]
    every: dict[str, int]
    arrays: dict[str, npt.NDArray[Any]]
    tolerance: Tolerance = EXACT
    texts: Sequence[str] = ()

    def contents(self) -> dict[str, Any]:
        """Return the entry of the graph in bundle.json."""
        told = {"precision": self.precision, **self.tolerance._asdict(), "cases": self.cases, "every": self.every}
        return {**told, "texts": list(self.texts)} if self.texts else told


def golden_of(path: Path, exact: Golden | None = None) -> Golden:
    """Run a graph on generated inputs: batches of one and of several images, of several sizes if it takes them.

    Args:
        path: ONNX file that a stage has written, with its metadata.
        exact: Golden outputs of the same network in float32, if the graph may be a variant in fewer bits.

    Raises:
        PipelineError: An output is not finite, or is the same for two images, so that it would prove nothing.
    """
    session = open_session(path, provider="cpu")  # the one provider that every machine has
    reads_texts = path.name == TEXT
    golden = Golden(precision_of(onnx.load(path)), [], {}, {}, texts=GOLDEN_TEXTS if reads_texts else ())
    for number, inputs in enumerate(text_cases(path) if reads_texts else _inputs(session)):
        names = {name: f"inputs/{_described(array)}/{name}" for name, array in inputs.items()}
        golden.arrays.update({names[name]: array for name, array in inputs.items()})
        case: dict[str, dict[str, str]] = {"inputs": names, "outputs": {}}
        for node, array in zip(session.get_outputs(), session.run(None, inputs), strict=True):
            rows = np.asarray(array, np.float32).reshape(len(array), -1)
            if not np.isfinite(rows).all():
                raise PipelineError(f"{path} returns infinite values or NaN: {remake('export')}.")
            every = golden.every.setdefault(node.name, ceil(rows.shape[1] / _MOST_VALUES))
            case["outputs"][node.name] = key = f"{path.name}/{number}/{node.name}"
            golden.arrays[key] = np.ascontiguousarray(rows[:, ::every])
        golden.cases.append(case)
    most = _APART * min(
        (_least_apart(golden, name) for name in golden.every if name not in _OF_CLASSES), default=np.inf
    )
    if most < EXACT.max_difference:
        raise PipelineError(
            f"{path} returns nearly the same values for different images, so it cannot be verified: {remake('export')}."
        )
    return (
        golden if golden.precision == "fp32" or exact is None else replace(golden, tolerance=_far(golden, exact, most))
    )


def _least_apart(golden: Golden, output: str) -> float:
    """Return the distance, as `compare` measures it, between the rows of the two most similar images."""
    rows = [row for case in golden.cases for row in golden.arrays[case["outputs"][output]]]
    pairs = [(one, other) for one in rows for other in rows if one is not other and one.shape == other.shape]
    return min((compare(one[None], other[None])[0] for one, other in pairs), default=np.inf)


def _far(golden: Golden, exact: Golden, most: float) -> Tolerance:
    """Return the tolerance of a graph in fewer bits, from its distance to float32 on the same inputs.

    Args:
        golden: Golden outputs of the graph.
        exact: Golden outputs of the same network in float32.
        most: Upper bound on the tolerated difference.
    """
    difference, lost = EXACT.max_difference, 1 - EXACT.min_cosine
    for case, reference in zip(golden.cases, exact.cases, strict=False):
        for name in (
            (case["outputs"].keys() & reference["outputs"].keys()) if case["inputs"] == reference["inputs"] else ()
        ):
            found = compare(golden.arrays[case["outputs"][name]], exact.arrays[reference["outputs"][name]])
            # the loss of cosine grows with the square of the distance
            difference, lost = max(difference, _ROUNDED_AGAIN * found[0]), max(lost, _ROUNDED_AGAIN**2 * (1 - found[1]))
    return Tolerance(float(f"{min(difference, most):.1e}"), round(1 - lost, 6))


def precision_of(model: onnx.ModelProto) -> Precision:
    """Return the precision in which a graph computes: the lowest one that occurs in it."""
    if any(node.op_type in _INTEGERS for node in model.graph.node):
        return "int8"
    half = onnx.TensorProto.FLOAT16
    return "fp16" if any(weight.data_type == half for weight in model.graph.initializer) else "fp32"


def _inputs(session: onnxruntime.InferenceSession) -> list[dict[str, npt.NDArray[Any]]]:
    """Return the inputs of each case, without duplicates if the graph takes only one shape."""
    metadata = read_metadata(session)
    size, spec = min(int(metadata["size"]), _SIDE), images_of(metadata)
    shapes = ((3, size, size), (1, size // 2 + 1, 2 * size + 1), (2, 2 * size + 3, size))
    cases = [{node.name: _input(node, shape, spec) for node in session.get_inputs()} for shape in shapes]
    different = {tuple((name, array.shape) for name, array in case.items()): case for case in cases}
    return list(different.values())


def _input(node: onnxruntime.NodeArg, shape: tuple[int, int, int], spec: ImageSpec) -> npt.NDArray[Any]:
    """Return raw images (N, H, W, C) or normalised ones (N, C, S, S); `shape` fills in what the graph leaves free."""
    number, height, width = shape
    raw = node.name == "images"
    wanted = (number, height, width, spec.channels) if raw else (number, spec.channels, height, width)
    dims = [given if isinstance(given, int) else free for given, free in zip(node.shape, wanted, strict=True)]
    if raw:
        return _images((dims[0], dims[1], dims[2], dims[3]), spec)
    shares = _shares((dims[0], dims[2], dims[3], dims[1]))
    return np.ascontiguousarray(np.moveaxis(4 * shares - 2, 3, 1), np.float32)


def _images(shape: tuple[int, int, int, int], spec: ImageSpec) -> Pixels:
    """Return images (N, H, W, C) of the spec; if pixels may be unmeasured, one corner of the first image is."""
    images = (spec.low + _shares(shape) * (spec.high - spec.low)).astype(spec.numpy_dtype)
    if spec.may_lack_pixels:
        images[0, : shape[1] // 4, : shape[2] // 4] = np.nan if spec.nodata is None else spec.nodata
    return images


def _shares(shape: tuple[int, int, int, int]) -> npt.NDArray[np.float64]:
    """Return shares of the full scale (N, H, W, C): each image has a colour, 4 x 4 patches, and noise.

    The colours keep embeddings apart; patches alone look much the same to a network trained on photographs.
    """
    number, row, column, channel = np.indices(shape)
    colour = hash64("colour", *shape, number, channel)
    patches = hash64("patch", *shape, number, row * 4 // shape[1], column * 4 // shape[2], channel)
    noise = hash64("noise", number, row, column, channel)
    levels = 2 * (colour % _LEVELS) + 2 * (patches % _LEVELS) + noise % _LEVELS
    shares: npt.NDArray[np.float64] = levels / (5 * (_LEVELS - 1))
    return shares


def _described(images: npt.NDArray[Any]) -> str:
    return f"{images.dtype}-{'x'.join(map(str, images.shape))}"
