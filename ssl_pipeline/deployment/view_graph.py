"""augment_<kind>.onnx: the graph from images and random numbers to views."""

import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch

from ssl_pipeline.augment.plain import PlainViewMaker
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import ViewMaker
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.deployment.bounds import VIEWS
from ssl_pipeline.deployment.onnx_file import traced, write_proto
from ssl_pipeline.deployment.proof import Proof, in_torch, prove
from ssl_pipeline.deployment.traces import traced_once
from ssl_pipeline.randomness import normals, uniforms

__all__ = ["export_views", "prove_views"]

_THRESHOLD_TOLERANCE = 1e-4
"""Distance from solarize's threshold within which the last bit of a value decides its side: both answers are right."""


def export_views(policy: Policy, canvas: int, path: Path, spec: ImageSpec = RGB8) -> Proof:
    """Write a kind of view as a graph, after proving that it computes what torch computes.

    Its inputs are `images` (N, S, S, C) of the spec's type, `uniforms` (N, P) float32 in [0, 1), whose columns the
    metadata names, and, if the policy has noise, `noise` (N, C, S, S) float32, standard normal. Its output is `views`
    (N, C, S, S) in [0, 1].

    Args:
        policy: Policy of the views.
        canvas: Side of the images in px.
        path: Path of the file to write.
        spec: Meaning of the images' values.

    Raises:
        PipelineError: The graph makes other views than torch; no file is left.
    """
    maker = PlainViewMaker(policy, spec).eval()
    settings = repr((maker.policy, canvas, spec))
    # the dependencies of a plugin's code are unknown, so its graphs are not cached
    graph = _trace(maker, canvas) if maker.plugins else traced_once(__name__, settings, lambda: _trace(maker, canvas))
    metadata = {
        "inputs": f"images: {spec}, NHWC; uniforms: one number in [0, 1) for each parameter; noise: standard normal",
        "output": "views: float32 NCHW in [0, 1]",
        "images": spec.model_dump_json(),
        "parameters": json.dumps(maker.parameters_of_views),
        "policy": policy.model_dump_json(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unproved = Path(folder, path.name)
        write_proto(onnx.load_from_string(graph), unproved, metadata)
        proof = prove_views(unproved, policy, canvas, spec)
        unproved.replace(path)
    return proof


def _trace(maker: PlainViewMaker, canvas: int) -> bytes:
    inputs, batch = _example(maker, canvas, count=7), torch.export.Dim("batch")
    graph: bytes = traced(
        maker,
        inputs,
        input_names=["images", "uniforms", "noise"][: len(inputs)],
        output_names=["views"],
        dynamic_shapes=tuple({0: batch} for _ in inputs),
    ).SerializeToString()
    return graph


def prove_views(path: Path, policy: Policy, canvas: int, spec: ImageSpec = RGB8) -> Proof:
    """Compare a graph of views with torch, on another number of images than it was traced with.

    Args:
        path: Path of a file that `export_views` wrote.
        policy: Policy of the views.
        canvas: Side of the images in px.
        spec: Meaning of the images' values.

    Raises:
        PipelineError: The graph makes other views than torch.
    """
    maker = ViewMaker(policy, spec).eval()
    makers = [maker]
    if solarize := maker.policy.solarize:
        for hair in (-_THRESHOLD_TOLERANCE, _THRESHOLD_TOLERANCE):
            moved = solarize.model_copy(update={"threshold": solarize.threshold + hair})
            makers.append(ViewMaker(maker.policy.model_copy(update={"solarize": moved}), spec))
    examples = {"examples": tuple(value.numpy() for value in _example(maker, canvas, count=6))}
    return prove(
        path,
        in_torch(*makers),
        examples,
        VIEWS,
        "check the versions of onnxruntime and onnxscript against constraints.txt.",
    )


def _example(maker: ViewMaker, canvas: int, count: int) -> tuple[torch.Tensor, ...]:
    """Return inputs: images as smooth as photographs, and hashed numbers; every other view has all operations."""
    ids, size, spec = np.arange(count, dtype=np.uint64), maker.policy.size, maker.spec
    waves = np.cumsum(normals(0, 0, ids, "example", (canvas, canvas, spec.channels)), axis=1)
    shares = np.clip((128 + 30 * waves) / 255, 0, 1)
    images = (spec.low + shares * (spec.high - spec.low)).astype(spec.numpy_dtype)
    numbers = uniforms(0, 0, ids, "example", maker.parameter_count)
    numbers[::2, maker.choices] = 0.0
    inputs = [torch.from_numpy(images), torch.from_numpy(numbers)]
    if maker.needs_noise:
        inputs.append(torch.from_numpy(normals(0, 0, ids, "example", (spec.channels, size, size))))
    return tuple(inputs)
