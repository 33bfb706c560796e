"""Running exported graphs, without torch: a deployment needs nothing else."""

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
"""Name of a text tower's file, beside backbone.onnx."""

_ERRORS_ONLY = 3
_NUMPY_TYPES = {"tensor(uint8)": "uint8", "tensor(uint16)": "uint16", "tensor(float)": "float32"}
"""Type of images in onnxruntime -> type in NumPy."""


def open_session(
    path: Path, threads: int | None = None, patient: bool = False, provider: Provider = "auto"
) -> onnxruntime.InferenceSession:
    """Open a graph for running; `session.get_providers()` names the provider that is really used.

    Args:
        path: Path of an ONNX file.
        threads: Number of CPU threads within an operator. None leaves the choice to onnxruntime; if there are several
            ranks, it takes this rank's share of the machine's cores.
        patient: Whether threads that wait for each other release the processor, for example to decoding processes.
            Otherwise they spin for a while.
        provider: Execution provider: auto takes CUDA if it works, otherwise the CPU; any other one is an error if it
            does not work here.

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
        raise PipelineError(f"{path} {what}. Name an exported graph, such as models/export/backbone.onnx.")
    asked = wanted(provider, threads)
    try:
        session = onnxruntime.InferenceSession(path, options, providers=asked)
    except Exception as error:  # onnxruntime's exceptions share no narrower base
        raise PipelineError(
            f"{path} is not a graph that onnxruntime {onnxruntime.__version__} can run: {shown(str(error), 500)}"
        ) from error
    check_used(session.get_providers()[0], asked, provider)
    if provider != "auto":
        session.disable_fallback()  # onto another provider while it runs
    return session


def read_metadata(session: onnxruntime.InferenceSession) -> dict[str, str]:
    """Return the metadata of a graph; text entries are plain, all others are JSON."""
    return dict(session.get_modelmeta().custom_metadata_map)


def images_of(metadata: Mapping[str, str]) -> ImageSpec:
    """Return the meaning of images' values from a graph's metadata; 8-bit RGB if the metadata does not state it."""
    if "dtype" not in metadata:
        return RGB8
    low, high = json.loads(metadata["scale"])
    read = {name: json.loads(metadata[name]) for name in ("channels", "rgb", "nodata")}
    return ImageSpec.model_validate({**read, "dtype": metadata["dtype"], "low": low, "high": high})


def layer_of(entry: str) -> int | None:
    """Return the backbone's layer, counted from 1, from the entry `layer` of the metadata; None for the last layer."""
    return None if entry == "last" else int(entry)


def run(
    session: onnxruntime.InferenceSession, *images: npt.NDArray[Any], batch_size: int = 256
) -> npt.NDArray[np.float32]:
    """Run a graph on any number of images, batch by batch.

    Args:
        session: Session of a graph from images; if it has several outputs, the first is returned.
        *images: Images (n, H, W, C) for each input of the graph, of its type; n may be 0.
        batch_size: Number of images per batch, which bounds the memory.

    Returns:
        Embeddings, probabilities or energies, (n, ...) float32.

    Raises:
        ValueError: The number, the shape or the type of the images is wrong.
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
            raise ValueError(f"{' and '.join(names)} must have equal lengths, got {len(images[0])} and {len(array)}")
