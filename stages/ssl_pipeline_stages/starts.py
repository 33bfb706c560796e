"""Options of `plan` and `init` that choose the weights to start from."""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.terminal import shown
from ssl_pipeline.workspace import seen_from

if TYPE_CHECKING:  # imports torch
    from ssl_pipeline.config import Config
    from ssl_pipeline.planning.starts import Given
    from ssl_pipeline.registry import Registry

__all__ = ["NOT_SAID", "Start", "check_images", "given", "start_options"]

NONE = "none"
"""Value of `--start` for no weights."""


class Start(NamedTuple):
    """Values of the options.

    Attributes:
        weights: Value of `--start`: a path, a name, or "none"; None to use pretrain.init.
        backbone: Value of `--backbone`.
        small: Whether `--small` is given.
    """

    weights: str | None = None
    backbone: str | None = None
    small: bool = False


NOT_SAID = Start()


def start_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose the weights to start from; the command receives them as one argument `start`."""

    @functools.wraps(command)
    def told(*arguments: Any, start: str | None, backbone: str | None, small: bool, **more: Any) -> Any:
        return command(*arguments, start=Start(start, backbone, small), **more)

    options = (
        click.option(
            "--start",
            help="Weights to start from: a .safetensors or .pth file, the name of a backbone with published weights "
            f"such as timm/resnet50, or {NONE}. [default: pretrain.init]",
        ),
        click.option("--backbone", help="Network that a weights file belongs to, such as timm/resnet50."),
        click.option("--small", is_flag=True, help="Ship a small network that learns from these weights."),
    )
    for option in reversed(options):
        told = option(told)
    return told


def check_images(start: Start, source: Mapping[str, Any]) -> None:
    """Refuse the options if there are no images yet to fit settings to."""
    if start != NOT_SAID and not source:
        raise PipelineError(
            "--start: settings are fitted to images, but there are none. Add --images, or pass --start to "
            "`ssl-pipeline plan` later."
        )


def given(registry: "Registry", config: "Config", said: Start, place: Path) -> "Given | None":
    """Return the weights that the options and the parameters choose; None if there are none.

    Args:
        registry: Registry of plugins.
        config: Parameters of the run.
        said: Values of the options.
        place: Folder of params.yaml, to which paths in the result are relative.

    Raises:
        ConfigError: There are no such weights, their network is unknown, or they do not fit it.
    """
    from ssl_pipeline.planning.starts import Given, as_teacher
    from ssl_pipeline.recipes import method_of
    from ssl_pipeline.weight_names import named_weights

    start, backbone, small = said
    taught = config.pretrain.pretext_task.get("teacher")
    if start is None and taught is not None:
        return Given("", {}, taught)
    if start is None and config.pretrain.init != "random":
        section = method_of(registry, config.pretrain).pretrain
        network = section.backbone.model_dump()
        return Given(section.init, network, as_teacher(section.init, network) if small else None)
    if start is None or start == NONE:
        if backbone or small:
            option = "--backbone" if backbone else "--small"
            raise ConfigError(f"{option}: this option describes the weights of --start. Add --start.")
        return None
    if name := named_weights(registry, start):
        if backbone:
            raise ConfigError(f"--backbone: '{shown(start, 100)}' already names its network. Omit the option.")
        return Given(start, {"name": name}, start if small else None)
    path = Path(start)
    if not path.is_file():
        raise ConfigError(
            f"--start: '{shown(start, 200)}' is neither a file nor the name of a backbone with published weights. Name "
            "a .safetensors or .pth file, or a backbone such as timm/resnet50."
        )
    weights = seen_from(place.absolute(), os.path.abspath(path))
    if path.suffix.lower() == ".onnx":
        if small:
            return Given(weights, {}, weights)
        raise ConfigError("--start: training cannot start from an .onnx file; to learn from it, add --small.")
    network = {"name": backbone} if backbone else _network_of(path)
    teacher = as_teacher(weights, network, described=not backbone) if small else None
    _check_fit(registry, network, path)
    return Given(weights, network, teacher)


def _network_of(path: Path) -> dict[str, Any]:
    """Return the network of weights that this project wrote, as named by the card beside them."""
    from ssl_pipeline.artifacts.card import CARD, read_card
    from ssl_pipeline.artifacts.files import ENCODER

    if path.name == ENCODER and (path.parent / CARD).exists():
        return read_card(path.parent).backbone.model_dump()
    raise ConfigError(
        f"--start: {shown(str(path), 200)} does not name the network that its weights belong to. Add it, such as "
        "--backbone timm/resnet50."
    )


def _check_fit(registry: "Registry", network: dict[str, Any], path: Path) -> None:
    """Refuse weights of another network before any image is examined."""
    from ssl_pipeline.artifacts.assembly import build_encoder
    from ssl_pipeline.artifacts.card import CARD, read_card
    from ssl_pipeline.artifacts.files import ENCODER
    from ssl_pipeline.config import Choice
    from ssl_pipeline.data.image_spec import RGB8
    from ssl_pipeline.training.initial import load_weights

    card = read_card(path.parent) if path.name == ENCODER and (path.parent / CARD).exists() else None
    size, images = (card.size, card.images) if card else (224, RGB8)  # all networks of libraries accept 224
    grey = (0.5,) * images.channels
    build = functools.partial(build_encoder, registry, Choice.model_validate(network), grey, grey, 0, images=images)
    published = None if card else build(size).backbone.published_for
    load_weights(build(published.size if published else size).backbone, path, "--start")
