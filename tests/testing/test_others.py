"""Each check of strategies, pretext tasks and backbones catches a plugin that is broken in exactly that way."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssl_pipeline.types import Candidates, Encoded, Kept, Loss, Negatives, Step, StepOutput, Tile, ViewNeeds, Views
from tests.testing.sound import SoundBackbone, SoundNegatives, SoundTask, broken


def selects(change: Callable[[Any, Candidates, Negatives], dict[str, Any]]) -> Any:
    """Return a strategy's select with some fields of its result replaced."""

    def select(self: Any, candidates: Candidates) -> Negatives:
        found = SoundNegatives.select(self, candidates)
        return replace(found, **change(self, candidates, found))

    return select


def row(make: Callable[[Candidates], Tensor]) -> Any:
    return selects(lambda _, c, n: {"rows": {**n.rows, "more": make(c)}})


def positional(self: Any, tile: Tile) -> Tensor:
    place = torch.arange(tile.keys.start, tile.keys.stop)
    return torch.zeros_like(tile.similarities).masked_fill(place < 3, -torch.inf)


def forgetful(self: Any, step: Step, kept: Kept) -> None:
    self.calls = getattr(self, "calls", 0) + 1
    self.limit = torch.tensor(1.0 - 0.05 * self.calls)


def dense(self: Any, candidates: Candidates, negatives: Negatives) -> dict[str, Any]:
    limit = (candidates.anchors @ candidates.keys.T).max(dim=1).values
    return {"rows": {"limit": limit.detach() + 1}}


NEGATIVES = [
    broken(
        SoundNegatives, r"\(K, 8\) and of unit length", "keys", select=selects(lambda _, c, n: {"keys": 2 * c.keys})
    ),
    broken(
        SoundNegatives,
        "anchor_samples must be those of the candidates",
        "samples",
        select=selects(lambda _, c, n: {"key_samples": n.key_samples[:-1]}),
    ),
    broken(
        SoundNegatives,
        "a key has lost the id of its image",
        "nobody's keys",
        select=selects(lambda _, c, n: {"key_samples": torch.full_like(n.key_samples, -1)}),
    ),
    broken(
        SoundNegatives,
        "a key has lost the id of its image",
        "numbers in the batch",
        select=selects(lambda _, c, n: {"key_samples": torch.arange(len(n.keys)) % (len(n.keys) // 2)}),
    ),
    broken(
        SoundNegatives,
        r"attracted must be \(A, M, D\)",
        "attracted",
        select=selects(lambda _, c, n: {"attracted": c.keys[:, None]}),
    ),
    broken(SoundNegatives, "class_prior is 1.5", "prior", select=selects(lambda _, c, n: {"class_prior": 1.5})),
    broken(SoundNegatives, r"rows must be \(A,\)", "rows", select=row(lambda c: c.anchors)),
    broken(SoundNegatives, "or NaN or infinity", "infinite", weigh=lambda self, tile: tile.similarities + torch.inf),
    broken(
        SoundNegatives,
        "have a mean of 2.* Make it 1",
        "heavy",
        weigh=lambda self, t: torch.full_like(t.similarities, 0.693147),
    ),
    broken(
        SoundNegatives,
        "the gradient of encoder.* is not finite",
        "root of 0",
        select=row(lambda c: (0 * c.anchors).sum(dim=1).sqrt()),
        weigh=lambda self, tile: 0 * tile.similarities + tile.rows["more"],
    ),
    broken(SoundNegatives, "depends on the order of the samples", "order", weigh=positional),
    broken(
        SoundNegatives,
        "in torch.float16, but .* half precision is not safe",
        "half precision",
        select=row(lambda c: torch.exp(12 * c.anchors.square().sum(dim=1)).detach()),
        weigh=lambda self, tile: (0 * tile.similarities).masked_fill(tile.rows["more"].isinf(), -torch.inf),
    ),
    broken(
        SoundNegatives,
        "two runs with the same seed differ",
        "its own dice",
        after_step=lambda self, step, kept: setattr(self, "limit", torch.tensor(random.random())),
    ),
    broken(SoundNegatives, "after saving and loading during training", "state in an attribute", after_step=forgetful),
    broken(SoundNegatives, "grows with the square of the batch", "dense", select=selects(dense)),
    broken(
        SoundNegatives,
        "nothing is learned in 20 steps",
        "keys turned round",
        select=selects(lambda _, c, n: {"keys": -c.keys}),
    ),
]


def changed(change: Callable[[Any], Any]) -> Any:
    def initialise(self: Any, encoder: nn.Module, loss: Loss, dim: int = 8) -> None:
        SoundTask.__init__(self, encoder, loss, dim)
        change(self)

    return initialise


def compares(change: Callable[[Any, Encoded, Tensor], Tensor]) -> Any:
    """Return a task's compare with a changed loss."""

    def compare(self: Any, encoded: Encoded, step: Step) -> StepOutput:
        return StepOutput(change(self, encoded, SoundTask.compare(self, encoded, step).loss), {})

    return compare


def encodes(change: Callable[[Tensor], Tensor]) -> Any:
    """Return a task's forward with changed embeddings."""

    def forward(self: Any, views: Views) -> Encoded:
        encoded = SoundTask.forward(self, views)
        return {**encoded, "embeddings": change(encoded["embeddings"])}

    return forward


def wide(embeddings: Tensor) -> Tensor:
    """Return the embeddings unchanged, unless 1e6 times their values overflow in their precision."""
    return embeddings * 1e6 / 1e6


def branching(self: Any, *inputs: Tensor) -> Tensor:
    return inputs[0].flatten(1).sum(dim=1) if inputs[0].sum() > 0 else inputs[0].flatten(1).mean(dim=1)


def other_when_exported(function: Any) -> Any:
    return lambda self, images: function(self, images) * (2 if torch.compiler.is_exporting() else 1)


def counted(self: Any, encoded: Encoded, loss: Tensor) -> Tensor:
    self.calls = getattr(self, "calls", 0) + 1
    return loss * (1 + 0.1 / self.calls)


def one_view(task: Any) -> None:
    task.views = ViewNeeds("global")


def name_none(task: Any) -> None:
    task.energy_head.name = ""


def branch_in_energy(task: Any) -> None:
    task.energy_head.__class__ = type("Head", (type(task.energy_head),), {"forward": branching})


TASKS = [
    broken(SoundTask, "views is .*, but views_for returns", "views", __init__=changed(one_view)),
    broken(SoundTask, "encoder must be set", "encoder", __init__=changed(lambda task: delattr(task, "encoder"))),
    broken(SoundTask, "the loss is inf on ordinary images", "inf", compare=compares(lambda _, e, v: v + torch.inf)),
    broken(SoundTask, "the loss has no graph", "detached loss", compare=compares(lambda _, e, v: v.detach())),
    broken(
        SoundTask, r"predict returns \(8,\) for 5", "prediction", predict=lambda self, i: SoundTask.predict(self, i)[0]
    ),
    broken(SoundTask, "energy_head '' returns .* It must have a name", "nameless energy", __init__=changed(name_none)),
    broken(
        SoundTask,
        "returns for a sample depends on the other samples",
        "mixing",
        forward=encodes(lambda x: x - x.mean(dim=0)),
    ),
    broken(
        SoundTask,
        "first dimension of encoded 'embeddings' has length 2 for 6",
        "views first",
        forward=encodes(lambda x: x.transpose(0, 1)),
    ),
    broken(SoundTask, "no gradient reaches encoder", "detached", forward=encodes(lambda x: x.detach())),
    broken(
        SoundTask,
        "depends on the order of the samples",
        "order",
        compare=compares(
            lambda _, e, v: v + e["embeddings"].square().mean(dim=(1, 2)) @ torch.arange(len(e["embeddings"])).float()
        ),
    ),
    broken(SoundTask, "half precision is not safe", "half precision", forward=encodes(wide)),
    broken(
        SoundTask,
        "two runs with the same",
        "its own dice",
        compare=compares(lambda _, e, v: v * (1 + 1e-5 * random.random())),
    ),
    broken(SoundTask, "after saving and loading", "state in an attribute", compare=compares(counted)),
    broken(
        SoundTask,
        "nothing is learned in 20 steps",
        "gradients turned round",
        compare=compares(lambda _, e, v: 2 * v.detach() - v),
    ),
    broken(
        SoundTask,
        "grows with the square of the batch",
        "dense",
        compare=compares(lambda _, e, v: v + 0 * (e["embeddings"][:, 0] @ e["embeddings"][:, 1].T).sum()),
    ),
    broken(SoundTask, "its prediction does not export to ONNX", "branch", predict=branching),
    broken(
        SoundTask,
        "its prediction differs between the ONNX graph and torch",
        "two faces",
        predict=other_when_exported(SoundTask.predict),
    ),
    broken(
        SoundTask,
        "Take the number of channels",
        "three bands",
        predict=lambda self, images: SoundTask.predict(self, images[:, :3]),
    ),
    broken(SoundTask, "its energy does not export to ONNX", "energy", __init__=changed(branch_in_energy)),
]


def embeds(change: Callable[[Tensor], Tensor]) -> Any:
    """Return a backbone's forward with changed embeddings."""
    return lambda self, images: change(SoundBackbone.forward(self, images))


def stale(self: Any, images: Tensor) -> Tensor:
    self.calls = getattr(self, "calls", 0) + 1
    return SoundBackbone.forward(self, images) + 1 / self.calls * self.training


def peep(images: Tensor, shown: Tensor) -> Tensor:
    return shown[..., None].float() + images.mean(dim=(1, 2, 3), keepdim=True)[..., 0]


def for_three(self: Any, in_channels: int = 3, share: float = 0.1) -> None:
    SoundBackbone.__init__(self, 3, share)


BACKBONES = [
    broken(SoundBackbone, r"give torch.float32 \(2, 7\), not", "length", forward=embeds(lambda x: x[:, :7])),
    broken(SoundBackbone, "depends on the other samples", "mixing", forward=embeds(lambda x: x - 0.5 * x.mean(dim=0))),
    broken(
        SoundBackbone,
        "no gradient reaches encoder.backbone.first",
        "detached",
        maps=lambda self, images: [self.first(images), self.second(self.first(images).detach())],
    ),
    broken(SoundBackbone, r"\(8, 16\) channels, but map_channels is \(8, 8\)", "channels", map_channels=(8, 8)),
    broken(
        SoundBackbone,
        "a patch that is not shown",
        "peeping",
        patch_size=8,
        visible=lambda self, x, shown: peep(x, shown),
    ),
    broken(SoundBackbone, "half precision is not safe", "half precision", forward=embeds(wide)),
    broken(
        SoundBackbone,
        "two runs with the same seed",
        "its own dice",
        forward=embeds(lambda x: x + 1e-5 * random.random()),
    ),
    broken(SoundBackbone, "after saving and loading", "state in an attribute", forward=stale),
    broken(
        SoundBackbone,
        "nothing is learned in 20 steps",
        "gradients turned round",
        forward=embeds(lambda x: 2 * x.detach() - x),
    ),
    broken(
        SoundBackbone,
        "its embedding differs between the ONNX graph and torch",
        "two faces",
        forward=other_when_exported(SoundBackbone.forward),
    ),
    broken(SoundBackbone, "Take the number of channels", "three bands", __init__=for_three),
]


@pytest.mark.parametrize(("check", "plugin", "words"), [*NEGATIVES, *TASKS, *BACKBONES])
def test_a_broken_plugin_is_caught(check: Callable[[Any], None], plugin: type, words: str):
    with pytest.raises(AssertionError, match=f"(?s)Broken(, on images of [^:]+)?: .*{words}"):
        check(plugin)
