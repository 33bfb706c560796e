"""Other encoders, to stand beside ours: each as an ONNX file that one thread of a CPU runs, as ours is."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx.external_data_helper import ExternalDataInfo, uses_external_data
from torch import nn

from ssl_pipeline.artifacts.assembly import build_encoder, with_published
from ssl_pipeline.artifacts.card import CARD, ModelCard, read_card
from ssl_pipeline.artifacts.files import ENCODER, load_encoder
from ssl_pipeline.config import Choice, Rival
from ssl_pipeline.data.image_spec import RGB8, ImageSpec, Pixels
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.deployment.runtime import open_session
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.evaluation.features import Embed
from ssl_pipeline.evaluation.linear.foreign_graphs import ShownAsRgb, embed_with
from ssl_pipeline.products import sha256
from ssl_pipeline.progress import say
from ssl_pipeline.registry import Entry, Registry
from ssl_pipeline.terminal import brief, shown
from ssl_pipeline.training.initial import load_weights
from ssl_pipeline.types import Encoder, Inputs
from ssl_pipeline.workspace import find_path

__all__ = ["Opened", "backbones", "check_rival", "cost", "open_rivals"]

IMAGENET = Inputs(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What published weights expect that say nothing else."""

_PARAMS_KEY = "linear_eval.rivals"
_FILE_SUFFIXES = (".onnx", ".safetensors")
_TIMED, _WARMING = 20, 3  # images

Images = Pixels


class Opened(NamedTuple):
    """A rival that is ready to embed.

    Attributes:
        embed: Makes embeddings of canvases.
        facts: What it is and costs, for details.json: see `cost`.
    """

    embed: Embed
    facts: dict[str, Any]


def open_rivals(rivals: Sequence[Rival], registry: Registry, card: ModelCard, images: Images) -> dict[str, Opened]:
    """Make every rival an ONNX file, and see that it embeds images.

    Args:
        rivals: `linear_eval.rivals`.
        registry: The registry that has the backbones.
        card: Card of our encoder. Rivals that are not ours get images that are resized as its own were, as RGB.
        images: (n, S, S, C) canvases to try and to time them on.

    Returns:
        For each name in `rivals` what embeds, and what it is and costs.

    Raises:
        ConfigError: A rival does not exist, has an unsupported form, or cannot be exported; the message names it.
    """
    found = {}
    for rival in rivals:
        name = rival.weights
        say(f"linear_eval: opening the rival {name}")
        check_rival(rival, registry)
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = _as_graph(rival, registry, card, Path(folder))
                embed = embed_with(open_session(path), IMAGENET, card.images)
                _try(embed, images[:2])
                source = find_path(name, _PARAMS_KEY)
                file = {"sha256": sha256(source)} if source.is_file() else {}
                found[name] = Opened(embed, cost(path, images, card.images) | file)
        except ConfigError:  # it names the key, and the rival
            raise
        except PipelineError as error:
            raise ConfigError(f"{_PARAMS_KEY}, '{name}': {error}") from error
    return found


def check_rival(rival: Rival, registry: Registry) -> None:
    """Refuse a rival that is not there, or whose backbone has no such name or options, before anything is opened.

    Raises:
        ConfigError: The message names the rival.
    """
    path, key = find_path(rival.weights, _PARAMS_KEY), f"{_PARAMS_KEY}, '{shown(rival.weights, 200)}'"
    if path.suffix.lower() in _FILE_SUFFIXES:
        if not path.is_file():
            raise ConfigError(f"{key}: there is no such file.")
        if rival.backbone:
            backbone_key = f"{key}: backbone"
            registry.validate(
                registry.find("backbone", rival.backbone.name, backbone_key), rival.backbone, backbone_key
            )
        return
    if not {rival.weights, rival.weights.partition("/")[0] + "/"} & set(registry.names("backbone")):
        advice = (
            "name a file that ends in .onnx or .safetensors, or a backbone with published weights. "
            + with_published(registry)
        )
        if path.suffix or path.exists():
            raise ConfigError(f"{key}: {advice}")
        try:
            registry.find("backbone", rival.weights, _PARAMS_KEY)
        except ConfigError as error:  # with names that may be meant
            raise ConfigError(f"{error}\nOr {advice}") from error


def backbones(rivals: Sequence[Rival], registry: Registry) -> list[Entry]:
    """Return the registered backbones that rivals name, themselves or in the card of another run."""
    known = set(registry.names("backbone"))
    named = [name for name in map(_backbone_name, rivals) if {name, name.partition("/")[0] + "/"} & known]
    return [registry.find("backbone", name, _PARAMS_KEY) for name in named]


def _backbone_name(rival: Rival) -> str:
    """Return the name of a rival's backbone; that of its weights where no other is known."""
    if rival.backbone:
        return rival.backbone.name
    path = find_path(rival.weights, _PARAMS_KEY)
    if path.name != ENCODER or not (path.parent / CARD).is_file():
        return rival.weights
    try:
        return read_card(path.parent).backbone.name
    except PipelineError:  # the stage says what is wrong with it
        return rival.weights


def cost(path: Path, images: Images, spec: ImageSpec = RGB8) -> dict[str, Any]:
    """Return what a graph costs, in figures for details.json.

    Args:
        path: The graph.
        images: (n, S, S, C) canvases, one or more.
        spec: What the canvases' values mean.

    Returns:
        `megabytes` on disk, with weights in files beside it; `parameters`; `milliseconds` from one stored image to its
        embedding: the median over 20, one by one, by one thread of the CPU, whatever there is besides.
    """
    model = onnx.load(path, load_external_data=False)
    kinds = onnx.TensorProto
    numbers = (kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.INT8, kinds.UINT8)
    weights = [one for one in model.graph.initializer if one.dims]  # a scalar is some formula's constant
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


def _as_graph(rival: Rival, registry: Registry, card: ModelCard, folder: Path) -> Path:
    """Return the ONNX file of a rival that was checked: its own, or one that is written into a folder.

    Raises:
        PipelineError: It cannot be exported.
    """
    path = find_path(rival.weights, _PARAMS_KEY)
    kind = path.suffix.lower()
    if kind == ".onnx":
        return path
    if kind in _FILE_SUFFIXES:
        encoder, described = _of_file(rival, path, registry, card)
    else:  # a backbone with its published weights
        encoder, described = _built(registry, Choice(name=rival.weights), card, _PARAMS_KEY, pretrained=True)
    graph = folder / "rival.onnx"
    network: nn.Module = encoder
    if encoder.images != described.images:  # a network for RGB images, for images of other bands
        network = nn.Sequential(ShownAsRgb(described.images), encoder)
    try:
        export_backbone(network.eval(), described, graph, l2_normalize=False, opset=18)
    except PipelineError:
        raise
    except Exception as error:  # what the exporter raises has no narrower base
        raise PipelineError(f"it cannot be exported to ONNX ({brief(error)}).") from error
    return graph


def _of_file(rival: Rival, path: Path, registry: Registry, card: ModelCard) -> tuple[Encoder, ModelCard]:
    """Return an encoder from a .safetensors file: one of ours beside its model.json, or any with its backbone named."""
    if rival.backbone is None:
        if path.name != ENCODER or not (path.parent / CARD).is_file():
            raise PipelineError(
                f"weights alone do not say which network they belong to: put the {CARD} of their run beside a file "
                f"called {ENCODER}, or write {{weights: {path}, backbone: {{name: ...}}}}."
            )
        return load_encoder(registry, path.parent, key=f"{_PARAMS_KEY}, '{rival.weights}': backbone")
    encoder, described = _built(
        registry, rival.backbone, card, f"{_PARAMS_KEY}, '{rival.weights}': backbone", pretrained=False
    )
    load_weights(encoder.backbone, path, _PARAMS_KEY)
    return encoder, described


def _built(
    registry: Registry, choice: Choice, card: ModelCard, key: str, *, pretrained: bool
) -> tuple[Encoder, ModelCard]:
    """Return a backbone that is given images as its published weights were: whoever trained it did much the same.

    Where none were published, it is given ImageNet's.
    """
    expected = IMAGENET
    for _ in range(2):  # what its images were is known once it is built
        encoder = build_encoder(registry, choice, expected.mean, expected.std, 0, expected.size, pretrained, key)
        wanted = encoder.backbone.published_for or expected
        if wanted == expected:
            break
        expected = wanted
    changes = {"backbone": choice, "embedding_dim": encoder.embedding_dim, "layer": None, "grayscale": False}
    return encoder, card.model_copy(update=changes | expected._asdict())


def _try(embed: Embed, images: Images) -> None:
    """Embed some images, and look at what comes.

    Raises:
        PipelineError: What comes is not a row of numbers for each image.
    """
    try:
        features = embed(images)
    except Exception as error:  # onnxruntime's exceptions share no narrower base
        raise PipelineError(f"it does not run on images of {images.shape[1]} px ({brief(error)}).") from error
    if features.ndim != 2 or len(features) != len(images):
        raise PipelineError(f"it returns {features.shape} for {len(images)} images instead of a row per image.")
    if not np.isfinite(features).all():
        raise PipelineError("it returns NaN or infinity for some images.")
