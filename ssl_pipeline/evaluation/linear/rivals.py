"""Rival encoders to compare ours with; like ours, each is an ONNX file and is timed on one CPU thread."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.config import Rival
from ssl_pipeline.data.image_spec import RGB8, ImageSpec, Pixels
from ssl_pipeline.deployment.foreign_encoders import IMAGENET, as_graph, check_foreign, try_out
from ssl_pipeline.deployment.foreign_graphs import embed_with
from ssl_pipeline.deployment.runtime import open_session
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.evaluation.features import Embed
from ssl_pipeline.products import sha256
from ssl_pipeline.progress import say
from ssl_pipeline.registry import Registry
from ssl_pipeline.workspace import find_path

__all__ = ["RIVALS", "Opened", "cost", "open_rivals"]

RIVALS = "linear_eval.rivals"
"""Key of the rivals in params.yaml."""

_TIMED, _WARMING = 20, 3  # numbers of images, embedded one by one

Images = Pixels


class Opened(NamedTuple):
    """A rival that is ready to embed.

    Attributes:
        embed: Function that embeds canvases.
        facts: Figures for details.json: those of `cost`, and the digest of the rival's file, if it is one.
    """

    embed: Embed
    facts: dict[str, Any]


def open_rivals(rivals: Sequence[Rival], registry: Registry, card: ModelCard, images: Images) -> dict[str, Opened]:
    """Convert every rival to an ONNX file, and check that it embeds images.

    Args:
        rivals: Rivals, `linear_eval.rivals`.
        registry: Registry of the backbones.
        card: Card of our encoder. Encoders from elsewhere receive images as RGB, resized as for ours.
        images: Canvases (n, S, S, C) on which the rivals are tried and timed.

    Returns:
        Name of each rival -> embedder and figures.

    Raises:
        ConfigError: A rival does not exist, has an unsupported form, or cannot be exported; the message names it.
    """
    found = {}
    for rival in rivals:
        name = rival.weights
        say(f"linear_eval: opening the rival {name}")
        check_foreign(rival, registry, RIVALS)
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = as_graph(rival, registry, card, Path(folder), RIVALS)
                embed = embed_with(open_session(path), IMAGENET, card.images)
                try_out(embed, images[:2])
                source = find_path(name, RIVALS)
                file = {"sha256": sha256(source)} if source.is_file() else {}
                found[name] = Opened(embed, cost(path, images, card.images) | file)
        except ConfigError:  # it names the key and the rival already
            raise
        except PipelineError as error:
            raise ConfigError(f"{RIVALS}, '{name}': {error}") from error
    return found


def cost(path: Path, images: Images, spec: ImageSpec = RGB8) -> dict[str, Any]:
    """Return the size and time of a graph, for details.json.

    Args:
        path: Path of the graph.
        images: Canvases (n, S, S, C); n >= 1.
        spec: Meaning of the canvases' values.

    Returns:
        `megabytes`: size on disk, including external weights. `parameters`: number of parameters. `milliseconds`: time
        from one stored image to its embedding, as the median over 20 single images on one CPU thread, whatever other
        devices there are.
    """
    model = onnx.load(path, load_external_data=False)
    kinds = onnx.TensorProto
    numbers = (kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.INT8, kinds.UINT8)
    weights = [one for one in model.graph.initializer if one.dims]  # a scalar is a constant of a formula, not a weight
    parameters = sum(int(np.prod(one.dims)) for one in weights if one.data_type in numbers)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    embed, times = embed_with(session, IMAGENET, spec), []
    for number in range(_WARMING + _TIMED):
        image = images[number % len(images)][None]
        began = time.perf_counter()
        embed(image)
        times.append(time.perf_counter() - began)
    beside = {ExternalDataInfo(one).location for one in weights if uses_external_data(one)}
    return {
        "megabytes": sum(file.stat().st_size for file in (path, *(path.parent / name for name in beside))) / 1e6,
        "parameters": parameters,
        "milliseconds": 1000 * float(np.median(times[_WARMING:])),
    }
