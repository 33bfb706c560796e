"""What to start from: random weights, or given ones that stay as they are, learn on, or teach a small network.

The bounds stand here, in one place. They are few, as what is better where depends on how much the given weights know of
such images: `docs/start.md` has measurements, and linear_eval and finetune say it of each run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.planning.draft import Draft, value_at
from ssl_pipeline.terminal import shown
from ssl_pipeline.weight_names import PICKLED

__all__ = ["ENOUGH_PASSES", "UNUSED", "Given", "Way", "as_teacher", "forget_start", "put_start", "way_of"]

FEWEST_IMAGES = 500
"""Fewer images than this would rather be learned by heart than teach a network that knows more of them already."""
FEWEST_PASSES = 3.0
"""With fewer passes over the images, heads hardly learn before the time is over, and the backbone only gets worse."""
ENOUGH_PASSES = 10
"""Passes over the images for whose sake views are made smaller: given weights need few."""
MOST_EPOCHS = 30
"""Passes of a run that goes on from given weights: with more it forgets what they brought."""
FEW_IMAGES = 50_000
"""With fewer images than this, weights that were trained on many others are worth more than what can be learned."""
RATE = 0.1
"""Learning rate as a share of that of random weights."""
LAYER_DECAY = 0.75
"""As BEiT and MAE fine-tune (2106.08254, 2111.06377)."""
AVERAGED = 0.1
"""Share of the steps over which the weights that ship are averaged."""

Way = Literal["scratch", "frozen", "continued", "distilled"]

UNUSED: Mapping[str, Any] = {
    "pretrain.init": "random",
    "pretrain.freeze_epochs": 0,
    "pretrain.freeze_norms": True,
    "pretrain.layer_decay": 1.0,
    "pretrain.ema": 0.0,
    "pretrain.pretext_task": {},
}
"""Key -> the value that does nothing, which takes the place of what another plan has put there."""


@dataclass(frozen=True)
class Given:
    """Weights that a person has named.

    Attributes:
        weights: The value of `pretrain.init`.
        backbone: Their network, as `pretrain.backbone` has it.
        teacher: How `pretrain.pretext_task: {teacher: ...}` names them, where a small network should ship that learns
            from this one; None: this network itself should.
    """

    weights: str
    backbone: Mapping[str, Any]
    teacher: Any = None


def as_teacher(weights: str, network: Mapping[str, Any], described: bool = False) -> Any:
    """Return how `pretrain.pretext_task: {teacher: ...}` names weights.

    Args:
        weights: The value of `pretrain.init`.
        network: Their network, as `pretrain.backbone` has it.
        described: Whether model.json beside the file says which network it is.

    Raises:
        ConfigError: It is a file of torch: teachers are read from .safetensors files.
    """
    if weights.lower().endswith(PICKLED):
        raise ConfigError(
            f"--small: a small network learns from the weights of a .safetensors file, and '{shown(weights, 200)}' is "
            "none. Write one: safetensors.torch.save_model(model, 'weights.safetensors')."
        )
    if weights == "pretrained":
        return network["name"]
    named = weights == network["name"] or weights.startswith(f"{network['name']}.")
    return weights if named or described else {"weights": weights, "backbone": dict(network)}


def way_of(given: Given | None, pool: int, passes: float) -> Way:
    """Return what is proposed.

    Args:
        given: The weights; None: nobody has named any.
        pool: Number of images to pretrain on.
        passes: Number of times that each of them can be seen in the time that there is.
    """
    if given is None:
        return "scratch"
    if given.teacher is not None:
        return "distilled"
    return "frozen" if pool < FEWEST_IMAGES or passes < FEWEST_PASSES else "continued"


def forget_start(draft: Draft) -> None:
    """Take back what an earlier plan said of a start: no trial needs weights, and this plan may propose none."""
    for key, value in UNUSED.items():
        if value_at(draft.content, key) not in (None, value):
            draft.put(key, value, "It has no use here.")
    if value_at(draft.content, "pretrain.epochs") == 0:
        draft.set("pretrain.epochs", 1)  # random weights are never left as they are


def put_start(draft: Draft, way: Way, given: Given | None, pool: int, epochs: int, steps: int) -> None:
    """Propose what to start from, and what keeps given weights from being ruined.

    Args:
        draft: The parameters, whose epochs and batch are settled.
        way: What is proposed.
        given: The weights; None: nobody has named any.
        pool: Number of images to pretrain on.
        epochs: Number of passes over them.
        steps: Number of steps in all.
    """
    for key, (value, reason) in _settings(way, given, pool, epochs, steps).items():
        draft.put(key, value, reason)


def _settings(way: Way, given: Given | None, pool: int, epochs: int, steps: int) -> dict[str, tuple[Any, str]]:
    """Return key -> the value and the reason."""
    if given is None:
        reason = "No weights to start from are named."
        if pool < FEW_IMAGES:
            reason += (
                f" With {pool:,} images, a network that was trained on many others is likely to be better: name its "
                "weights with --start (docs/start.md)."
            )
        return {"pretrain.init": ("random", reason)}
    if way == "distilled":
        teacher = {"teacher": given.teacher}
        return {"pretrain.pretext_task": (teacher, "The network that is planned learns from these weights.")}
    if way == "frozen":
        why = f"{pool:,} images are few" if pool < FEWEST_IMAGES else "The time is too short"
        reason = f"{why} to train these weights further: they ship as they are, and are judged on your images."
        return {"pretrain.init": (given.weights, reason)}
    return {
        "pretrain.init": (given.weights, "Training goes on from these weights, which already know many images."),
        "pretrain.freeze_epochs": (
            min(max(1, epochs // 10), epochs - 1),
            "The heads start at random: the backbone waits for them.",
        ),
        "pretrain.freeze_norms": (True, "Statistics of few images would cost the start points (docs/start.md)."),
        "pretrain.layer_decay": (LAYER_DECAY, "Early layers are general, and change less than later ones."),
        "pretrain.ema": (
            round(1 - 1 / max(10.0, AVERAGED * steps), 4),
            f"What ships is the average of the weights over the last {AVERAGED:.0%} of the steps or so.",
        ),
    }
