"""Progressive resolution in a run: which size views have at which step, and whether backbone and task take it.

All kinds of views shrink by the same share: a small crop stays as much smaller than a global one as it was, and a whole
step costs what its area is. The numbers of a view are hashed from its image, so that a small view is the same view,
with fewer pixels.
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
        begins: The steps with which sizes begin, in their order; the first is 0.
        policies: The policies at each of these sizes: kind of view -> policy.
    """

    main: str
    begins: tuple[int, ...]
    policies: tuple[Mapping[str, Policy], ...]

    @classmethod
    def of(cls, task: PretextTask, policies: Mapping[str, Policy], config: PretrainConfig, total: int) -> "ViewSizes":
        """Return the sizes over a run; where a short one has two of them begin at one step, the later counts.

        Args:
            task: The task, on the CPU.
            policies: Kind of view -> policy at full size.
            config: The section `pretrain`.
            total: Number of steps of the run, of which the last one is always of full size.

        Raises:
            ConfigError: The backbone takes no views of such a size.
        """
        timeline = _timeline(task, policies, config)
        sized = {min(round(begin * total), total - 1): policies for begin, policies in timeline}
        return cls(task.views.main, tuple(sized), tuple(sized.values()))

    def at(self, step: int) -> Mapping[str, Policy]:
        """Return the policies of a step, which counts from 0."""
        return self.policies[bisect_right(self.begins, step) - 1]

    def end(self, done: int) -> bool:
        """Say whether a size ends after that many steps."""
        return done in self.begins

    def figures(self, step: int) -> dict[str, int]:
        """Return `view_size`, the side in px of the main kind of view at a step, where it is not always the same."""
        return {"view_size": self.at(step)[self.main].size} if len(self.policies) > 1 else {}


def sides_over_time(
    task: PretextTask, policies: Mapping[str, Policy], config: PretrainConfig
) -> tuple[tuple[float, int], ...]:
    """Return when sizes begin, as shares of the run, and the side in px of the main kind of view from then on.

    Nothing where it is the same throughout.

    Raises:
        ConfigError: The backbone takes no views of such a size.
    """
    sides = tuple((begin, sized[task.views.main].size) for begin, sized in _timeline(task, policies, config))
    return sides if len(sides) > 1 and config.epochs else ()


def check_resolution(
    registry: Registry, recipe: Recipe, task: PretextTask, policies: Mapping[str, Policy], config: PretrainConfig
) -> None:
    """Refuse smaller views where the task or the backbone takes one size alone.

    Args:
        registry: The registry that has the task.
        recipe: The recipe, resolved.
        task: The task, on the CPU; it is left as it is.
        policies: Kind of view -> policy at full size.
        config: The section `pretrain`.

    Raises:
        ConfigError: The task or the backbone takes no views of such a size.
    """
    shares = sorted({share for _, share in config.resolution} - {1.0})
    name = recipe.pretext_task.name
    refused = (
        f"pretrain.resolution: recipe '{recipe.name}' learns by pretext task '{name}', which is built for views of one "
        f"size{{}}. {_FULL}, or take another recipe."
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
    """Return when sizes begin, as shares of the run, and the policies from then on; no two neighbours are alike."""
    found: list[tuple[float, Mapping[str, Policy]]] = []
    for begin, share in config.resolution:
        sized = _at(task, policies, config.backbone.name, share)
        if not found or any(sized[kind].size != found[-1][1][kind].size for kind in task.views.counts):
            found.append((begin, sized))
    return found


def _at(task: PretextTask, policies: Mapping[str, Policy], backbone: str, share: float) -> Mapping[str, Policy]:
    """Return the policies of all views of a task at a share of their sides, rounded to what its backbone takes."""
    if share == 1:
        return policies
    return {kind: policies[kind].at(_side(task.encoder, backbone, policies, kind, share)) for kind in task.views.counts}


def _side(encoder: Encoder, backbone: str, policies: Mapping[str, Policy], kind: str, share: float) -> int:
    """Return the side in px, near a share of that of a kind of view, on which an encoder can be trained."""
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
        f"pretrain.resolution: backbone '{backbone}' takes no views of {share:g} of the {size} px of "
        f"augment.views.{kind}, which are {share * size:.0f} px: {reason}. {_FULL}, another share of the side, or take "
        "a backbone for any size."
    )


def _takes(task: PretextTask, policies: Mapping[str, Policy]) -> bool:
    """Say whether a task encodes views of some sizes, by trying it on two images of noise."""
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
