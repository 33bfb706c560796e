"""Progressive resolution: the sizes of views over a run, and checks that backbone and task take them.

All kinds of views shrink by the same factor, so the ratio of local to global views stays the same, and the cost of a
step is proportional to the area of its views. The random numbers of a view do not depend on its size: a smaller view is
the same view with fewer pixels.
"""

import copy
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature

import torch

from ssl_pipeline.augment.policy import LEAST_SIZE, Policy
from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.registry import Registry
from ssl_pipeline.training.sizes import NOT_TAKEN, multiples_near, refusal
from ssl_pipeline.types import CAPTIONS, TEACHER, TOKENS, UNIFORMS, Encoder, PretextTask

__all__ = ["ViewSizes", "check_resolution", "sides_over_time"]

_FULL = "Write resolution: [[0, 1.0]] for views of full size throughout"


@dataclass(frozen=True)
class ViewSizes:
    """The sizes of views over a run.

    Attributes:
        main: The main kind of view.
        begins: The steps at which sizes begin, in order; the first is 0.
        policies: The policies from each of these steps on: kind of view -> policy.
    """

    main: str
    begins: tuple[int, ...]
    policies: tuple[Mapping[str, Policy], ...]

    @classmethod
    def of(cls, task: PretextTask, policies: Mapping[str, Policy], config: PretrainConfig, total: int) -> "ViewSizes":
        """Return the sizes over a run; if two sizes of a short run begin at the same step, the later one is used.

        Args:
            task: The task, on the CPU.
            policies: Kind of view -> policy at full size.
            config: The section `pretrain`.
            total: Number of steps of the run; the last step always has views of full size.

        Raises:
            ConfigError: The backbone does not take views of one of the sizes.
        """
        timeline = _timeline(task, policies, config)
        sized = {min(round(begin * total), total - 1): policies for begin, policies in timeline}
        return cls(task.views.main, tuple(sized), tuple(sized.values()))

    def at(self, step: int) -> Mapping[str, Policy]:
        """Return the policies of a step, counted from 0."""
        return self.policies[bisect_right(self.begins, step) - 1]

    def end(self, done: int) -> bool:
        """Return whether a size ends after `done` steps."""
        return done in self.begins

    def figures(self, step: int) -> dict[str, int]:
        """Return `view_size`, the side in px of the main kind of view at a step; empty if it never changes."""
        return {"view_size": self.at(step)[self.main].size} if len(self.policies) > 1 else {}


def sides_over_time(
    task: PretextTask, policies: Mapping[str, Policy], config: PretrainConfig
) -> tuple[tuple[float, int], ...]:
    """Return the changes of size over a run.

    Returns:
        Pairs of the share of the run at which a size begins, and the side in px of the main kind of view from then on;
        empty if the size never changes.

    Raises:
        ConfigError: The backbone does not take views of one of the sizes.
    """
    sides = tuple((begin, sized[task.views.main].size) for begin, sized in _timeline(task, policies, config))
    return sides if len(sides) > 1 and config.epochs else ()


def check_resolution(
    registry: Registry, recipe: Recipe, task: PretextTask, policies: Mapping[str, Policy], config: PretrainConfig
) -> None:
    """Refuse smaller views if the task or the backbone takes only one size.

    Args:
        registry: The registry that knows the task.
        recipe: The resolved recipe.
        task: The task, on the CPU, which is not changed.
        policies: Kind of view -> policy at full size.
        config: The section `pretrain`.

    Raises:
        ConfigError: The task or the backbone does not take views of one of the sizes.
    """
    shares = sorted({share for _, share in config.resolution} - {1.0})
    name = recipe.pretext_task.name
    refused = (
        f"pretrain.resolution: recipe '{recipe.name}' learns by pretext task '{name}', which is built for views of one "
        f"size{{}}. {_FULL}, or choose another recipe."
    )
    if shares and "size" in signature(registry.find("pretext_task", name).factory).parameters:
        raise ConfigError(refused.format(""))
    for share in shares:
        smaller = _at(task, policies, config.backbone.name, share)
        if not _takes(task, smaller):
            raise ConfigError(refused.format(f" and cannot take {smaller[task.views.main].size} px"))


def _timeline(
    task: PretextTask, policies: Mapping[str, Policy], config: PretrainConfig
) -> list[tuple[float, Mapping[str, Policy]]]:
    """Return pairs of the share of the run at which a size begins, and the policies from then on."""
    found: list[tuple[float, Mapping[str, Policy]]] = []
    for begin, share in config.resolution:
        sized = _at(task, policies, config.backbone.name, share)
        if not found or any(sized[kind].size != found[-1][1][kind].size for kind in task.views.counts):
            found.append((begin, sized))
    return found


def _at(task: PretextTask, policies: Mapping[str, Policy], backbone: str, share: float) -> Mapping[str, Policy]:
    """Return the policies of a task's views at a share of their sides, rounded to sizes that the backbone takes."""
    if share == 1:
        return policies
    return {kind: policies[kind].at(_side(task.encoder, backbone, policies, kind, share)) for kind in task.views.counts}


def _side(encoder: Encoder, backbone: str, policies: Mapping[str, Policy], kind: str, share: float) -> int:
    """Return a side in px that an encoder can be trained on, near a share of the full side of a kind of view."""
    size, reasons = policies[kind].size, []
    nearest, *coarser = multiples_near(encoder, share * size)
    if nearest == size:
        return size
    for side in (nearest, *coarser):
        if LEAST_SIZE <= side < size:
            reason = refusal(encoder, side)
            if not reason:
                return side
            reasons.append(reason)
    reason = reasons[0] if reasons else f"a view has at least {LEAST_SIZE} px"
    raise ConfigError(
        f"pretrain.resolution: backbone '{backbone}' does not take views of {share * size:.0f} px, which is {share:g} "
        f"of the {size} px of augment.views.{kind}: {reason}. {_FULL}, write another share of the side, or choose a "
        "backbone that takes any size."
    )


def _takes(task: PretextTask, policies: Mapping[str, Policy]) -> bool:
    """Return whether a task can encode views of given sizes, by a trial on two images of noise."""
    trial, channels = copy.deepcopy(task).train(), task.encoder.images.channels
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            sizes = {kind: (count, policies[kind].size) for kind, count in task.views.counts.items()}
            views = {kind: torch.rand(2, count, channels, size, size) for kind, (count, size) in sizes.items()}
            if task.text_tower is not None:
                views[TOKENS] = torch.ones(2, task.text_tower.needs.context, dtype=torch.int64)
                views[CAPTIONS] = torch.arange(2)[:, None]
            if task.teaching is not None:
                views[TEACHER] = torch.rand(2, 1, task.teaching.dim)
            trial(views | {UNIFORMS: torch.rand(2, task.uniforms)})
    except NOT_TAKEN:
        return False
    return True
