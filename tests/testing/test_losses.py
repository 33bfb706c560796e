"""Each check of losses catches a loss that is broken in exactly that way; sound plugins of all kinds pass."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_pipeline.contrast.similarity import cosines
from ssl_pipeline.testing.material import Plain, PlainViews
from ssl_pipeline.types import Negatives, Step, StepOutput
from tests.testing.sound import CHECKS, SoundLoss, SoundViewLoss, broken


@pytest.mark.parametrize("sound", CHECKS)
def test_a_sound_plugin_passes_and_the_generator_is_left_alone(sound: type):
    before = torch.get_rng_state()
    CHECKS[sound](sound)
    assert torch.equal(torch.get_rng_state(), before)


def untyped(self: Any, weight=1.0) -> None:
    SoundLoss.__init__(self, weight)


def unknown(self: Any, weight: "NoSuchType" = 1.0) -> None:  # type: ignore[name-defined]  # noqa: F821
    SoundLoss.__init__(self, weight)


def wrapped(function: Any) -> Any:
    """Return a forward of SoundLoss whose value is changed by a function of (loss object, value)."""

    def forward(self: Any, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        value, figures, _ = SoundLoss.forward(self, anchors, positives, negatives, step)
        return StepOutput(function(self, value), figures)

    return forward


def metrics(make: Any) -> Any:
    def forward(self: Any, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        value, *_ = SoundLoss.forward(self, anchors, positives, negatives, step)
        return StepOutput(value, make(self, value))

    return forward


def dense(self: Any, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
    """InfoNCE as it is often written: the value is correct, but it forms the whole matrix of similarities."""
    value = SoundLoss.forward(self, anchors, positives, negatives, step)
    return StepOutput(value.loss + 0 * (anchors.float() @ negatives.keys.float().T).sum(), value.metrics)


def narrow(self: Any, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
    """A sum of exponentials in the precision of the embeddings: exp(12) overflows in fp16."""
    value = SoundLoss.forward(self, anchors, positives, negatives, step)
    own = torch.exp(12 * (anchors[:, None] * positives).sum(dim=2))
    return StepOutput(value.loss + 1e-9 * own.mean(), value.metrics)


def unweighted(self: Any, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
    plain = Negatives(negatives.keys, negatives.anchor_samples, negatives.key_samples)
    return SoundLoss.forward(self, anchors, positives, plain, step)


def without_negatives(self: Any, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
    value = SoundLoss.forward(self, anchors, positives, negatives, step)
    others = (negatives.anchor_samples != negatives.key_samples.max()).float().sum()
    return StepOutput(value.loss + 0 / others, value.metrics)


def positional(self: Any, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
    value = SoundLoss.forward(self, anchors, positives, negatives, step)
    return StepOutput(value.loss + cosines(anchors, positives.roll(1, 0)).mean(), value.metrics)


def angular(which: str) -> Any:
    """Return a forward that adds the angle to positives or negatives by acos, whose slope is infinite at 0."""

    def forward(self: Any, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        value = SoundLoss.forward(self, anchors, positives, negatives, step)
        others = positives[:, 0] if which == "positives" else negatives.keys.roll(-1, 0)[: len(anchors)]
        cosine = torch.einsum("ad,ad->a", anchors.float(), others.float())
        return StepOutput(value.loss + 1e-3 * cosine.acos().mean(), value.metrics)

    return forward


def counts_outside_of_the_state(self: Any, value: Tensor) -> Tensor:
    self.seen = getattr(self, "seen", 0) + 1
    return value * (1 + 0.1 / self.seen)


def registers_late(self: Any, value: Tensor) -> Tensor:
    self.register_buffer("seen", value.detach())
    return value


def distance(self: Any, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
    value = PlainViews.forward(self, predictions, targets, step)
    apart = (predictions[0] - targets[1]).float().square().sum(dim=1).sqrt()
    return StepOutput(value.loss + apart.mean(), value.metrics)


def deviation(self: Any, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
    value = PlainViews.forward(self, predictions, targets, step)
    return StepOutput(value.loss - 1e-3 * predictions.float().var(dim=1).sqrt().mean(), value.metrics)


LOSSES = [
    broken(SoundLoss, "parameter 'weight' has no type", "untyped option", __init__=untyped),
    broken(SoundLoss, "parameter 'weight' is not documented. Add 'weight", "undocumented", __doc__="A loss."),
    broken(SoundLoss, "the options cannot be read from its signature .*NoSuchType", "unknown type", __init__=unknown),
    broken(SoundLoss, "energy_name must be set", "nameless", energy_name=""),
    broken(SoundLoss, "energy of 5 pairs has shape", "energy", energy=lambda self, a, b: -(a * b).sum()),
    broken(
        SoundLoss,
        "no gradient reaches the anchors",
        "detached anchors",
        forward=lambda self, a, p, n, s: SoundLoss.forward(self, a.detach(), p, n, s),
    ),
    broken(SoundLoss, "without negatives the loss .* not finite", "no negatives", forward=without_negatives),
    broken(SoundLoss, "if both views are equal, the loss .* not finite", "acos", forward=angular("positives")),
    broken(SoundLoss, "if vectors of two images are equal, the loss", "acos of keys", forward=angular("negatives")),
    broken(SoundViewLoss, "if both views are equal, the loss", "root of 0", forward=distance),
    broken(SoundViewLoss, "if all vectors are equal, the loss", "standard deviation", forward=deviation),
    broken(SoundLoss, r"the loss has shape \(1,\)", "shape", forward=wrapped(lambda _, value: value[None])),
    broken(SoundLoss, "metric 'loss' must be a detached scalar", "metric", forward=metrics(lambda _, v: {"loss": v})),
    broken(
        SoundLoss,
        "names of metrics change",
        "names",
        forward=metrics(lambda self, v: {f"loss_{self.steps:.0f}": v.detach()}),
    ),
    broken(
        SoundLoss,
        "no gradient reaches loss.factor",
        "dead parameter",
        forward=lambda self, a, p, n, s: Plain.forward(self, a, p, n, s),
    ),
    broken(SoundLoss, "depends on the order of the samples", "order", forward=positional),
    broken(SoundLoss, "the loss is inf in torch.float16, but", "half precision", forward=narrow),
    broken(
        SoundLoss,
        "two runs with the same seed differ",
        "its own dice",
        forward=wrapped(lambda _, value: value * (1 + random.random() * 1e-5)),
    ),
    broken(
        SoundLoss,
        "after saving and loading during training, the loss is",
        "state in an attribute",
        forward=wrapped(counts_outside_of_the_state),
    ),
    broken(SoundLoss, "its state cannot be loaded into a new object", "a late buffer", forward=wrapped(registers_late)),
    broken(SoundLoss, "grows with the square of the batch", "dense", forward=dense),
    broken(SoundLoss, "negatives of weight 0 change the loss", "weights unread", forward=unweighted),
    broken(
        SoundLoss,
        "nothing is learned in 20 steps",
        "gradients turned round",
        forward=wrapped(lambda _, v: 2 * v.detach() - v),
    ),
]


@pytest.mark.parametrize(("check", "plugin", "words"), LOSSES)
def test_a_broken_loss_is_caught(check: Callable[[Any], None], plugin: type, words: str):
    with pytest.raises(AssertionError, match=f"(?s)Broken: .*{words}"):
        check(plugin)


@pytest.mark.parametrize("check", CHECKS.values())
def test_what_is_of_another_kind_is_caught(check: Callable[[Any], None]):
    with pytest.raises(AssertionError, match="its factory returns Linear; derive it from ssl_pipeline.types"):
        check(other_kind)


def other_kind() -> torch.nn.Module:
    return torch.nn.Linear(2, 2)
