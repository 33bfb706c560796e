"""The gradients of one step of a recipe for any way of encoding its images, to check ranks and micro-batches."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
import yaml

from benchmarks.project import ROOT
from ssl_pipeline.artifacts.assembly import build_task
from ssl_pipeline.config import PretrainSection
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import resolve
from ssl_pipeline.testing.material import SmallPatchBackbone, encoder_on, make_step, make_views, small_encoder
from ssl_pipeline.training.micro_batches import MicroBatches
from ssl_pipeline.types import Encoded, Encoder, PretextTask, Views

__all__ = ["IN_FLOAT32", "REGISTRY", "SIZE", "difference", "gradients", "in_micro_batches", "task_of"]

REGISTRY = load_registry()
SECTION = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["pretrain"]
SIZE = 24
ON_PATCHES = {"mae"}
IN_FLOAT32 = {"colorization", "masked_tokens", "missing_frame"}
"""Recipes that make targets or compute distances in float32; all others are computed in float64."""

Encode = Callable[[npt.NDArray[np.int64], int], Encoded]
"""A function that encodes images, given their positions and the place of the first of them in the batch."""


def task_of(
    recipe: str, encoder: Encoder | None = None, options: Mapping[str, object] = MappingProxyType({})
) -> PretextTask:
    """Return the task of a recipe with some options.

    Args:
        recipe: Name of the recipe.
        encoder: Encoder of the task; None: a small one without batch norms.
        options: Options of the pretext task.
    """
    section = PretrainSection.model_validate({**SECTION, "recipe": recipe, "pretext_task": dict(options)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = encoder or (encoder_on(SmallPatchBackbone(SIZE)) if recipe in ON_PATCHES else small_encoder(seed=0))
    task = build_task(REGISTRY, resolve(REGISTRY, section), encoder, 0, SIZE).train()
    return task if recipe in IN_FLOAT32 else task.double()


def gradients(
    task: PretextTask,
    in_parts: Callable[[Encode], Encoded],
    images: int,
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the loss and the gradients of a step.

    Args:
        task: Task that encodes the views and compares their embeddings.
        in_parts: Function that encodes the batch with the help of a function that encodes some of its images.
        images: Number of images in the batch.
        around: Context in which the backward pass runs.
    """
    dtype = next(task.parameters()).dtype
    made = make_views(task, images, SIZE).items()
    views = {kind: value.to(dtype) if value.is_floating_point() else value for kind, value in made}

    def encode(positions: npt.NDArray[np.int64], place: int) -> Encoded:
        torch.manual_seed(place)
        return task({kind: value[torch.from_numpy(positions)] for kind, value in views.items()})

    task.zero_grad()
    loss = task.compare(in_parts(encode), make_step(count=images)).loss
    with around():
        loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), {name: weight.grad for name, weight in task.named_parameters() if weight.grad is not None}


def in_micro_batches(batches: MicroBatches, images: int, encode: Encode) -> Encoded:
    """Encode a batch in micro-batches as training does, with positions in place of views."""

    def make(positions: npt.NDArray[np.int64]) -> Views:
        return {"positions": torch.from_numpy(positions)}

    return batches.encode(make, lambda views, first: encode(views["positions"].numpy(), first), np.arange(images), SIZE)


def difference(found: dict[str, torch.Tensor], whole: dict[str, torch.Tensor]) -> float:
    """Return the largest difference between gradients, as a share of the largest gradient of the whole batch."""
    if found.keys() != whole.keys():
        raise ValueError(f"only one side has gradients of: {sorted(found.keys() ^ whole.keys())}")
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    return max(float((found[name] - whole[name]).abs().max()) for name in whole) / largest
