"""Plan the start: random weights, or pretrained ones that ship unchanged, learn on, or teach a small network.

This module holds all the bounds. There are few, because the best choice depends on how much the pretrained weights know
about such images: `docs/start.md` has measurements, and linear_eval and finetune report it for each run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.planning.draft import Draft, value_at
from ssl_pipeline.terminal import shown
from ssl_pipeline.weight_names import PICKLED

__all__ = ["ENOUGH_PASSES", "FEW_IMAGES", "UNUSED", "Given", "Way", "as_teacher", "forget_start", "put_start", "way_of"]

FEWEST_IMAGES = 500
"""Number of images below which pretrained weights are not trained further, because they would memorise the images."""
FEWEST_PASSES = 3.0
"""Number of passes below which pretrained weights are not trained further: heads would hardly learn in the time, and
the backbone would only get worse."""
ENOUGH_PASSES = 10
"""Number of passes for which views are made smaller if necessary; pretrained weights need few passes."""
MOST_EPOCHS = 30
"""Maximum number of passes with pretrained weights; with more, the network forgets what it knew."""
FEW_IMAGES = 50_000
"""Number of images below which weights trained on many other images are likely to be better than random ones."""
RATE = 0.1
"""Learning rate with pretrained weights, as a share of the rate for random weights."""
LAYER_DECAY = 0.75
"""Layer-wise decay of the learning rate, as in the fine-tuning of BEiT and MAE (2106.08254, 2111.06377)."""
AVERAGED = 0.1
"""Share of the steps over which the shipped weights are averaged."""

Way = Literal["scratch", "frozen", "continued", "distilled"]

UNUSED: Mapping[str, Any] = {
    "pretrain.init": "random",
    "pretrain.freeze_epochs": 0,
    "pretrain.freeze_norms": True,
    "pretrain.layer_decay": 1.0,
    "pretrain.ema": 0.0,
    "pretrain.pretext_task": {},
}
"""Key -> neutral value, which replaces the value of an earlier plan."""


@dataclass(frozen=True)
class Given:
    """Weights that the user has named.

    Attributes:
        weights: Value of `pretrain.init`.
        backbone: Network of the weights, as a value of `pretrain.backbone`.
        teacher: Value of `teacher` in `pretrain.pretext_task`, if a small network that learns from these weights should
            ship; None if their own network should.
    """

    weights: str
    backbone: Mapping[str, Any]
    teacher: Any = None


def as_teacher(weights: str, network: Mapping[str, Any], described: bool = False) -> Any:
    """Return weights as a value of `teacher` in `pretrain.pretext_task`.

    Args:
        weights: Value of `pretrain.init`.
        network: Network of the weights, as a value of `pretrain.backbone`.
        described: Whether model.json beside the file names the network.

    Raises:
        ConfigError: The file was written by `torch.save`; teachers are read from .safetensors files.
    """
    if weights.lower().endswith(PICKLED):
        raise ConfigError(
            f"--small: '{shown(weights, 200)}' is not a .safetensors file, which a small network needs to learn from. "
            "Write one: safetensors.torch.save_model(model, 'weights.safetensors')."
        )
    if weights == "pretrained":
        return network["name"]
    named = weights == network["name"] or weights.startswith(f"{network['name']}.")
    return weights if named or described else {"weights": weights, "backbone": dict(network)}


def way_of(given: Given | None, pool: int, passes: float) -> Way:
    """Return the proposed use of the weights.

    Args:
        given: Weights that the user has named; None if there are none.
        pool: Number of images to pretrain on.
        passes: Number of passes over these images that fit into the time.
    """
    if given is None:
        return "scratch"
    if given.teacher is not None:
        return "distilled"
    return "frozen" if pool < FEWEST_IMAGES or passes < FEWEST_PASSES else "continued"


def forget_start(draft: Draft) -> None:
    """Reset the start that an earlier plan chose: trials need no weights, and this plan may propose none."""
    for key, value in UNUSED.items():
        if value_at(draft.content, key) not in (None, value):
            draft.put(key, value, "This setting is not needed here.")
    if value_at(draft.content, "pretrain.epochs") == 0:
        draft.set("pretrain.epochs", 1)  # random weights are always trained


def put_start(draft: Draft, way: Way, given: Given | None, pool: int, epochs: int, steps: int) -> None:
    """Propose the start, and the settings that protect pretrained weights.

    Args:
        draft: Parameters, with epochs and batch size already set.
        way: Proposed use of the weights.
        given: Weights that the user has named; None if there are none.
        pool: Number of images to pretrain on.
        epochs: Number of passes over these images.
        steps: Total number of steps.
    """
    for key, (value, reason) in _settings(way, given, pool, epochs, steps).items():
        draft.put(key, value, reason)


def _settings(way: Way, given: Given | None, pool: int, epochs: int, steps: int) -> dict[str, tuple[Any, str]]:
    """Return the value and the reason for each key."""
    if given is None:
        return {"pretrain.init": ("random", "No weights to start from are named.")}
    if way == "distilled":
        teacher = {"teacher": given.teacher}
        return {"pretrain.pretext_task": (teacher, "The planned network learns from these weights.")}
    if way == "frozen":
        why = f"{pool:,} images are too few" if pool < FEWEST_IMAGES else "The time is too short"
        reason = f"{why} to train these weights further: they ship unchanged, and are evaluated on your images."
        return {"pretrain.init": (given.weights, reason)}
    return {
        "pretrain.init": (given.weights, "Training starts from these weights, which were learned from many images."),
        "pretrain.freeze_epochs": (
            min(max(1, epochs // 10), epochs - 1),
            "The heads start from random weights, so the backbone is frozen at first.",
        ),
        "pretrain.freeze_norms": (True, "Statistics of few images would make the start worse (docs/start.md)."),
        "pretrain.layer_decay": (LAYER_DECAY, "Early layers are general, and need to change less than later ones."),
        "pretrain.ema": (
            round(1 - 1 / max(10.0, AVERAGED * steps), 4),
            f"The shipped weights are an average over about the last {AVERAGED:.0%} of the steps.",
        ),
    }
