"""Running exported graphs. Imports no torch: this is all that a deployment needs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from ssl_pipeline import ranks
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.deployment.execution import Provider, check_used, wanted
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import shown

__all__ = ["TEXT", "images_of", "layer_of", "open_session", "read_metadata", "run"]

TEXT = "text.onnx"
"""The name of a text tower's file, beside backbone.onnx."""

_ERRORS_ONLY = 3
_NUMPY_TYPES = {"tensor(uint8)": "uint8", "tensor(uint16)": "uint16", "tensor(float)": "float32"}
"""Types of images, in onnxruntime's words and in NumPy's."""


def open_session(
    path: Path, threads: int | None = None, patient: bool = False, provider: Provider = "auto"
) -> onnxruntime.InferenceSession:
    """Open a graph for running; `session.get_providers()` says what it really runs on.

    Args:
        path: An ONNX file.
        threads: CPU threads within an operator; None leaves the choice to onnxruntime, or takes the share of this rank
            of the machine's cores where there are several.
        patient: Whether threads that wait for each other leave the processor to others, such as processes that decode.
            Otherwise they try again and again for a while.
        provider: The execution provider: auto takes CUDA where it works, and the CPU elsewhere; another one that does
            not work here is refused.

    Raises:
        PipelineError: The file is missing, onnxruntime cannot load it, or the provider does not work here.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    if patient:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is None and ranks.local_count() > 1:
        threads = ranks.own_cores()
    if threads is not None:
        options.intra_op_num_threads = threads
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise PipelineError(f"{path} {what}. Name an exported file, such as models/export/backbone.onnx.")
    asked = wanted(provider, threads)
    try:
        session = onnxruntime.InferenceSession(path, options, providers=asked)
    except Exception as error:  # onnxruntime's exceptions share no narrower base
        raise PipelineError(
            f"{path} is not a graph that onnxruntime {onnxruntime.__version__} runs: {shown(str(error), 500)}"
        ) from error
    check_used(session.get_providers()[0], asked, provider)
    if provider != "auto":
        session.disable_fallback()  # to another provider in the middle of the work
    return session


def read_metadata(session: onnxruntime.InferenceSession) -> dict[str, str]:
    """Return what the graph says about itself; text as it is, all else as JSON."""
    return dict(session.get_modelmeta().custom_metadata_map)


def images_of(metadata: Mapping[str, str]) -> ImageSpec:
    """Return what values of images mean to a graph, by its metadata; to one that does not say, 8-bit RGB."""
    if "dtype" not in metadata:
        return RGB8
    low, high = json.loads(metadata["scale"])
    read = {name: json.loads(metadata[name]) for name in ("channels", "rgb", "nodata")}
    return ImageSpec.model_validate({**read, "dtype": metadata["dtype"], "low": low, "high": high})


def layer_of(entry: str) -> int | None:
    """Return what `layer` in the metadata says: of which of the backbone's layers, from 1; None: its own embeddings."""
    return None if entry == "last" else int(entry)


def run(
    session: onnxruntime.InferenceSession, *images: npt.NDArray[Any], batch_size: int = 256
) -> npt.NDArray[np.float32]:
    """Run a graph on any number of images, batch by batch.

    Args:
        session: The session of a graph from images to one output, or to several, of which the first is returned.
        *images: Images (n, H, W, C) for each input of the graph, of its type; n may be 0.
        batch_size: Images a batch; bounds the memory.

    Returns:
        (n, ...) float32: embeddings, probabilities or energies.

    Raises:
        ValueError: Wrong number, shape or type of images.
    """
    _check(session, images)
    names, first = [node.name for node in session.get_inputs()], [session.get_outputs()[0].name]
    outputs = []
    for start in range(0, len(images[0]), batch_size):
        given = {name: array[start : start + batch_size] for name, array in zip(names, images, strict=True)}
        outputs.append(session.run(first, given)[0])
    if not outputs:
        return np.empty((0, *session.get_outputs()[0].shape[1:]), np.float32)
    return np.concatenate(outputs)


def _check(session: onnxruntime.InferenceSession, images: Sequence[npt.NDArray[Any]]) -> None:
    names = [node.name for node in session.get_inputs()]
    if len(images) != len(names):
        raise ValueError(f"the graph takes {' and '.join(names)}, got {len(images)} arrays")
    for name, array, node in zip(names, images, session.get_inputs(), strict=True):
        dtype, channels = _NUMPY_TYPES.get(node.type, node.type), node.shape[3]
        if array.dtype != dtype or array.ndim != 4 or array.shape[3] != channels or 0 in array.shape[1:]:
            raise ValueError(f"{name} must be {dtype} (n, H, W, {channels}), got {array.dtype} {array.shape}")
        if len(array) != len(images[0]):
            raise ValueError(f"{' and '.join(names)} must be of equal number, got {len(images[0])} and {len(array)}")
