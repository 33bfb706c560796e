"""Losses of all families have one base class: a task names the family that it takes, and each loss is told the step."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.artifacts.assembly import build_task
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.registry import Registry
from ssl_pipeline.testing import check_loss, check_pretext_task
from ssl_pipeline.testing.material import Plain, make_step, make_views, small_encoder
from ssl_pipeline.testing.plain_tasks import Agreement
from ssl_pipeline.types import Encoder, Kept, Negatives, Objective, Step, StepOutput
from ssl_pipeline_plugins.negatives.in_batch import InBatch
from ssl_pipeline_plugins.pretext.joint_embedding import JointEmbedding


class TextLoss(Objective):
    """A third family of losses, as a plugin author would add it."""

    family = "of images and texts"


class Softmax(TextLoss):
    """A loss of the third family."""

    energy_name = "negative_cosine"

    def forward(self, images: Tensor, texts: Tensor, step: Step) -> StepOutput:
        return StepOutput(-(images @ texts.T).log_softmax(dim=1).diagonal().mean(), {})

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        return -(first * second).sum(dim=1)


class Captions(Agreement):
    """A task that takes losses of the third family.

    Args:
        encoder: Encoder of the images.
        loss: Loss of images and texts.
    """

    objective = TextLoss

    def __init__(self, encoder: Encoder, loss: Any):
        super().__init__(encoder, loss)


class Plugin:
    """A plugin that registers the task, as a class and as a partial, and two losses."""

    @hookimpl
    def register_pretext_tasks(self, register: Any) -> None:
        register("captions", Captions)
        register("captions_by_partial", partial(Captions))

    @hookimpl
    def register_losses(self, register: Any) -> None:
        register("softmax", Softmax)
        register("plain", Plain)


def recipe(task: str, loss: str) -> Recipe:
    return Recipe(name="mine", pretext_task=Choice(name=task), loss=Choice(name=loss))


@pytest.mark.parametrize("task", ["captions", "captions_by_partial"])
def test_a_third_family_is_a_subclass_and_a_task_that_names_it(task: str):
    registry = Registry()
    registry.add(Plugin(), "somebody-s", "1.0")
    assert isinstance(build_task(registry, recipe(task, "softmax"), small_encoder(0), 0, 16), Captions)
    with pytest.raises(ConfigError, match=f"'plain' does not fit .* '{task}', which takes a loss of images and tex"):
        build_task(registry, recipe(task, "plain"), small_encoder(0), 0, 16)


@pytest.mark.parametrize(("check", "plugin"), [(check_pretext_task, Captions), (check_loss, Softmax)])
def test_the_kit_says_which_families_it_can_try(check: Any, plugin: type):
    with pytest.raises(AssertionError, match="Loss or .*ViewLoss"):
        check(plugin)


class Watched(Plain):
    """A loss that keeps the similarity of positives and records the arguments of after_step."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Step, Mapping[str, Any]]] = []

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        alike = (anchors[:, None] * positives).sum(dim=2).mean().detach()
        return super().forward(anchors, positives, negatives, step)._replace(kept={"alike": alike, "step": step})

    def after_step(self, step: Step, kept: Kept) -> None:
        self.told.append((step, kept))


@pytest.mark.parametrize("keys", ["both_views", "other_view"])
def test_a_loss_with_negatives_is_told_of_the_step_and_given_what_it_kept(keys: Any):
    loss = Watched()
    task = JointEmbedding(small_encoder(0), loss, InBatch(), hidden_dim=8, out_dim=4, keys=keys)
    step = make_step(6, number=3, total=10)
    output = task.compare(task(make_views(task, 6, 16)), step)
    assert loss.told == []
    task.after_step(step, output.kept)
    ((told, kept),) = loss.told
    assert told is step
    assert kept["step"] is step
    assert -1 <= kept["alike"].item() <= 1
    assert torch.isfinite(output.loss)
