"""Views as an ONNX graph: images and random numbers in, views out, proved equal to torch."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import PARAMETERS, ViewMaker
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.onnx_file import write_graph
from ssl_pipeline.products import atomic_file
from ssl_pipeline.randomness import normals, uniforms

__all__ = ["export_views"]

TOLERANCE = 1e-3
"""Largest difference between onnxruntime's and torch's views, of the range from black to white."""


def export_views(policy: Policy, canvas: int, path: Path, spec: ImageSpec = RGB8) -> float:
    """Write a kind of view as a graph, if it is right.

    Its inputs are `images` (N, S, S, C) of the type that the spec names, `uniforms` (N, P) float32 in [0, 1), whose
    columns the metadata names, and `noise` (N, C, S, S) float32, standard normal, if the policy has noise; its output
    is `views` (N, C, S, S) in [0, 1].

    Args:
        policy: What the views are.
        canvas: The side of the images in px.
        path: Where the file goes.
        spec: What the images' values mean.

    Returns:
        The largest difference between onnxruntime's views and torch's.

    Raises:
        PipelineError: They differ by more than 1e-3; no file is left.
    """
    maker = ViewMaker(policy, spec).eval()
    inputs = _example(maker, canvas, count=7)
    names = ["images", "uniforms", "noise"][: len(inputs)]
    batch = torch.export.Dim("batch")
    metadata = {
        "inputs": f"images: {spec}, NHWC; uniforms: one number in [0, 1) for each parameter; noise: standard normal",
        "output": "views: float32 NCHW in [0, 1]",
        "images": spec.model_dump_json(),
        "parameters": json.dumps(PARAMETERS),
        "policy": policy.model_dump_json(),
    }
    with atomic_file(path) as temporary:
        shapes = tuple({0: batch} for _ in inputs)
        write_graph(
            maker,
            inputs,
            temporary,
            input_names=names,
            output_names=["views"],
            dynamic_shapes=shapes,
            metadata=metadata,
        )
        difference = _difference(maker, temporary, names, _example(maker, canvas, count=6))
        if not difference <= TOLERANCE:
            raise PipelineError(
                f"{path.name}: onnxruntime's views differ from torch's by {difference:.2g} of the range, more than "
                f"{TOLERANCE:g}. Check the versions of onnxruntime and onnxscript against constraints.txt."
            )
    return difference


def _example(maker: ViewMaker, canvas: int, count: int) -> tuple[torch.Tensor, ...]:
    """Inputs: smooth images, as photographs are, and hashed numbers; every other view receives all operations."""
    ids, size, spec = np.arange(count, dtype=np.uint64), maker.policy.size, maker.spec
    waves = np.cumsum(normals(0, 0, ids, "example", (canvas, canvas, spec.channels)), axis=1)
    shares = np.clip((128 + 30 * waves) / 255, 0, 1)
    images = (spec.low + shares * (spec.high - spec.low)).astype(spec.numpy_dtype)
    numbers = uniforms(0, 0, ids, "example", maker.parameter_count)
    choices = [column for column, name in enumerate(PARAMETERS) if "." not in name]
    numbers[::2, choices] = 0.0
    inputs = [torch.from_numpy(images), torch.from_numpy(numbers)]
    if maker.needs_noise:
        inputs.append(torch.from_numpy(normals(0, 0, ids, "example", (spec.channels, size, size))))
    return tuple(inputs)


def _difference(maker: ViewMaker, path: Path, names: list[str], inputs: tuple[torch.Tensor, ...]) -> float:
    """Largest difference between a file's graph and the module, on another batch size than was traced.

    A value within a hair of solarize's threshold may fall on either side by its last bit: both answers are right.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["views"], dict(zip(names, (value.numpy() for value in inputs), strict=True)))
    makers = [maker]
    if solarize := maker.policy.solarize:
        for hair in (-1e-4, 1e-4):
            moved = solarize.model_copy(update={"threshold": solarize.threshold + hair})
            makers.append(ViewMaker(maker.policy.model_copy(update={"solarize": moved}), maker.spec))
    return float(np.min([np.abs(found - each(*inputs).numpy()) for each in makers], axis=0).max())
