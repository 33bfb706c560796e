"""Third-party encoders as ONNX files, from files of several kinds and from backbones with published weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from ssl_pipeline.artifacts.assembly import build_encoder, with_published
from ssl_pipeline.artifacts.card import CARD, ModelCard, read_card
from ssl_pipeline.artifacts.files import ENCODER, load_encoder
from ssl_pipeline.config import Choice, Rival
from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.deployment.foreign_graphs import Embed, ShownAsRgb
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.registry import Entry, Registry
from ssl_pipeline.terminal import brief, shown
from ssl_pipeline.training.initial import load_weights
from ssl_pipeline.types import Encoder, Inputs
from ssl_pipeline.workspace import find_path

__all__ = ["IMAGENET", "as_graph", "backbones", "check_foreign", "try_out"]

IMAGENET = Inputs(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Inputs that published weights expect unless they state others."""

_FILE_SUFFIXES = (".onnx", ".safetensors")


def check_foreign(named: Rival, registry: Registry, params_key: str) -> None:
    """Check that an encoder exists, and that its backbone has this name and these options, before anything is opened.

    Args:
        named: Encoder, as params.yaml names it.
        registry: Registry of the backbones.
        params_key: Key in params.yaml, for messages.

    Raises:
        ConfigError: The encoder or its backbone is refused; the message names the key and the encoder.
    """
    path, key = find_path(named.weights, params_key), f"{params_key}, '{shown(named.weights, 200)}'"
    if path.suffix.lower() in _FILE_SUFFIXES:
        if not path.is_file():
            raise ConfigError(f"{key}: there is no such file.")
        if named.backbone:
            backbone_key = f"{key}: backbone"
            registry.validate(
                registry.find("backbone", named.backbone.name, backbone_key), named.backbone, backbone_key
            )
        return
    if not {named.weights, named.weights.partition("/")[0] + "/"} & set(registry.names("backbone")):
        advice = (
            "name a file that ends in .onnx or .safetensors, or a backbone with published weights. "
            + with_published(registry)
        )
        if path.suffix or path.exists():
            raise ConfigError(f"{key}: {advice}")
        try:
            registry.find("backbone", named.weights, params_key)
        except ConfigError as error:  # it suggests similar names
            raise ConfigError(f"{error}\nOr {advice}") from error


def backbones(encoders: Sequence[Rival], registry: Registry, params_key: str) -> list[Entry]:
    """Return the registered backbones that encoders name, either directly or in the card of another run."""
    known = set(registry.names("backbone"))
    names = [_backbone_name(one, params_key) for one in encoders]
    named = [name for name in names if {name, name.partition("/")[0] + "/"} & known]
    return [registry.find("backbone", name, params_key) for name in named]


def _backbone_name(named: Rival, params_key: str) -> str:
    """Return the name of an encoder's backbone, or the name of its weights if the backbone is unknown."""
    if named.backbone:
        return named.backbone.name
    path = find_path(named.weights, params_key)
    if path.name != ENCODER or not (path.parent / CARD).is_file():
        return named.weights
    try:
        return read_card(path.parent).backbone.name
    except PipelineError:  # the stage will report what is wrong
        return named.weights


def as_graph(
    named: Rival,
    registry: Registry,
    card: ModelCard,
    folder: Path,
    params_key: str,
    stated: Inputs | None = None,
    guessed: bool = True,
) -> Path:
    """Return the ONNX file of a checked encoder: its own file, or a new one written into a folder.

    Args:
        named: Encoder, as params.yaml names it.
        registry: Registry of the backbones.
        card: Description of the canvases; third-party encoders get them resized accordingly, as RGB.
        folder: Folder that receives a new file, if one is needed.
        params_key: Key in params.yaml, for messages.
        stated: Inputs that the user states; None takes those that its published weights expect.
        guessed: Whether to assume ImageNet's inputs if they are unknown; otherwise such an encoder is refused.

    Raises:
        PipelineError: The encoder cannot be exported, or its inputs are unknown.
    """
    path = find_path(named.weights, params_key)
    kind = path.suffix.lower()
    if kind == ".onnx":
        return path
    if kind in _FILE_SUFFIXES:
        encoder, described = _of_file(named, path, registry, card, params_key, stated, guessed)
    else:  # a backbone with its published weights
        choice = Choice(name=named.weights)
        encoder, described = _built(registry, choice, card, params_key, stated, guessed, pretrained=True)
    graph = folder / "foreign.onnx"
    network: nn.Module = encoder
    if encoder.images != described.images:  # a network for RGB on images with other bands
        network = nn.Sequential(ShownAsRgb(described.images), encoder)
    try:
        export_backbone(network.eval(), described, graph, l2_normalize=False, opset=18)
    except PipelineError:
        raise
    except Exception as error:  # what the exporter raises has no narrower base
        raise PipelineError(f"it cannot be exported to ONNX ({brief(error)}).") from error
    return graph


def _of_file(
    named: Rival,
    path: Path,
    registry: Registry,
    card: ModelCard,
    params_key: str,
    stated: Inputs | None,
    guessed: bool,
) -> tuple[Encoder, ModelCard]:
    """Return an encoder from a .safetensors file: one of this project beside its model.json, or a named backbone."""
    if named.backbone is None:
        if path.name != ENCODER or not (path.parent / CARD).is_file():
            raise PipelineError(
                f"weights alone do not say which network they belong to: put the {CARD} of their run beside a file "
                f"named {ENCODER}, or write {{weights: {path}, backbone: {{name: ...}}}}."
            )
        return load_encoder(registry, path.parent, key=f"{params_key}, '{named.weights}': backbone")
    key = f"{params_key}, '{named.weights}': backbone"
    encoder, described = _built(registry, named.backbone, card, key, stated, guessed, pretrained=False)
    load_weights(encoder.backbone, path, params_key)
    return encoder, described


def _built(
    registry: Registry,
    choice: Choice,
    card: ModelCard,
    key: str,
    stated: Inputs | None,
    guessed: bool,
    *,
    pretrained: bool,
) -> tuple[Encoder, ModelCard]:
    """Return a backbone that gets the inputs which its published weights expect.

    Without published weights, it gets ImageNet's inputs if these may be guessed. Stated inputs take precedence.

    Raises:
        PipelineError: The inputs of the backbone are unknown.
    """
    expected = stated or IMAGENET
    for _ in range(2):  # the expected inputs are known only once the backbone is built
        encoder = build_encoder(registry, choice, expected.mean, expected.std, 0, expected.size, pretrained, key)
        if not (stated or guessed or encoder.backbone.published_for):
            raise PipelineError(
                f"the inputs that backbone '{choice.name}' was trained on are unknown: state size, mean and std."
            )
        wanted = stated or encoder.backbone.published_for or expected
        if wanted == expected:
            break
        expected = wanted
    changes = {"backbone": choice, "embedding_dim": encoder.embedding_dim, "layer": None, "grayscale": False}
    return encoder, card.model_copy(update=changes | expected._asdict())


def try_out(embed: Embed, images: Pixels) -> int:
    """Embed some images and check the result; return the length of an embedding.

    Raises:
        PipelineError: The result is not one row of finite numbers per image.
    """
    try:
        features = embed(images)
    except Exception as error:  # onnxruntime's exceptions share no narrower base
        raise PipelineError(f"it does not run on images of {images.shape[1]} px ({brief(error)}).") from error
    if features.ndim != 2 or len(features) != len(images):
        raise PipelineError(f"it returns {features.shape} for {len(images)} images instead of one row per image.")
    if not np.isfinite(features).all():
        raise PipelineError("it returns NaN or infinity for some images.")
    length: int = features.shape[1]
    return length
