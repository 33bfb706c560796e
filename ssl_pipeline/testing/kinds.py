"""Checks of single kinds of plugins, each for the promises of a base class in `ssl_pipeline.types`."""

from typing import Any

import torch
from torch import Tensor

from ssl_pipeline.artifacts.assembly import declared_views
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.testing.families import DIM, FAMILIES, family_of
from ssl_pipeline.testing.material import InBatch, Plain, drawn_from, make_step, unit_vectors
from ssl_pipeline.testing.plain_tasks import compare_pairs
from ssl_pipeline.testing.subject import Subject
from ssl_pipeline.testing.training import Trial
from ssl_pipeline.types import (
    Backbone,
    Encoded,
    Encoder,
    EnergyHead,
    ImageEnergyHead,
    Negatives,
    NegativeStrategy,
    Objective,
    PretextTask,
    Step,
    Tile,
    ViewNeeds,
)

__all__ = [
    "backbone_gives_what_it_offers",
    "energy_is_of_pairs",
    "equal_vectors_have_finite_gradients",
    "family",
    "gradients_reach_the_anchors",
    "is_a_backbone",
    "is_a_strategy",
    "is_a_task",
    "loss_heeds_the_negatives_it_is_given",
    "names_its_energy",
    "plain_loss",
    "task_leaves_what_ships",
]

_IMAGES = 12


def _is(subject: Subject, base: type) -> None:
    found = subject.build()
    wrong = f"its factory returns {type(found).__name__}; derive it from ssl_pipeline.types.{base.__name__}."
    subject.require(isinstance(found, base), wrong)


def family(subject: Subject) -> type:
    """Return the family of a loss; fail if it does not derive from any of them."""
    found = type(subject.build())
    base = family_of(found)
    if base is None:
        known = " or ".join(family.__name__ for family in FAMILIES)
        raise subject.fault(f"its factory returns {found.__name__}; derive it from ssl_pipeline.types.{known}.")
    return base


def names_its_energy(trial: Trial) -> None:
    """Check that a loss names its energy."""
    name = getattr(trial.subject.build(), "energy_name", None)
    trial.subject.require(bool(name) and isinstance(name, str), "energy_name must be set to the name of its energy.")


def is_a_strategy(trial: Trial) -> None:
    """Check that a strategy derives from NegativeStrategy."""
    _is(trial.subject, NegativeStrategy)


def is_a_task(trial: Trial) -> None:
    """Check that a task derives from PretextTask, declares its views, and has the encoder that it received."""
    _is(trial.subject, PretextTask)
    subject, task, require = trial.subject, trial.task(0), trial.subject.require
    said, views = declared_views(subject.factory, subject.options), getattr(task, "views", None)
    require(
        isinstance(said, ViewNeeds) and views == said,
        f"views is {views}, but views_for returns {said}: set views to what views_for returns, and register the class.",
    )
    require(
        isinstance(getattr(task, "encoder", None), Encoder),
        "encoder must be set to the encoder that the factory receives, which is exported.",
    )


def is_a_backbone(trial: Trial) -> None:
    """Check that a backbone maps images, also a single one, to float32 embeddings of the length that it states."""
    _is(trial.subject, Backbone)
    backbone, require = trial.subject.build().eval(), trial.subject.require
    for count in (2, 1):
        found = backbone(trial.subject.some_images(count))
        wanted = (count, getattr(backbone, "embedding_dim", None))
        require(
            tuple(found.shape) == wanted and found.dtype == torch.float32,
            f"{count} images give {found.dtype} {tuple(found.shape)}, not float32 {wanted}: return (N, embedding_dim), "
            "and set embedding_dim to its length.",
        )


def backbone_gives_what_it_offers(trial: Trial) -> None:
    """Check that maps have the stated channels, and that features of a patch depend on no patch that is not shown."""
    backbone, require = trial.subject.build().eval(), trial.subject.require
    images = trial.subject.some_images(2)
    if backbone.has("maps"):
        channels = tuple(maps.shape[1] for maps in backbone.maps(images))
        stated = tuple(backbone.map_channels)
        require(channels == stated, f"it returns maps with {channels} channels, but map_channels is {stated}.")
    if backbone.has("patches"):
        side = backbone.patch_size
        shown = torch.tensor([[0], [0]])
        others = images.flip(0)
        others[:, :, :side, :side] = images[:, :, :side, :side]
        found = backbone.visible(images, shown)
        require(
            found.shape[:2] == (2, 1),
            f"visible returns {tuple(found.shape)} for one patch of 2 images; return (N, k, D).",
        )
        require(
            torch.allclose(found, backbone.visible(others, shown), atol=1e-5),
            f"visible depends on a patch that is not shown. Patches have {side} px and are numbered row by row from "
            "the top left.",
        )


def _fitted(trial: Trial) -> Any:
    loss: Objective = trial.subject.build()
    with drawn_from(0):
        loss.fit_to(DIM)
    return loss


def energy_is_of_pairs(trial: Trial) -> None:
    """Check that energies of N pairs have the shape (N,) and are finite, also for equal and opposite vectors."""
    first = unit_vectors(5, DIM, 0)
    for second in (unit_vectors(5, DIM, 1), first, -first):
        energy = _fitted(trial).energy(first, second)
        trial.subject.require(
            energy.shape == (5,) and bool(energy.isfinite().all()),
            f"energy of 5 pairs has shape {tuple(energy.shape)}, or is not finite. Return (N,), one number per pair.",
        )


def _sides(seed: int, count: int = _IMAGES) -> tuple[Tensor, Tensor, Negatives]:
    """Return anchors (A, D), positives (A, 2, D) and separate negatives; anchors and keys are leaves of the graph."""
    anchors = unit_vectors(count, DIM, seed).requires_grad_()
    near = anchors.detach()[:, None] + 0.3 * torch.stack([unit_vectors(count, DIM, seed + n) for n in (1, 2)], dim=1)
    positives = torch.nn.functional.normalize(near, dim=2)
    keys = unit_vectors(2 * count, DIM, seed + 3).requires_grad_()
    return anchors, positives, Negatives(keys, torch.arange(count), torch.arange(count).repeat(2))


def gradients_reach_the_anchors(trial: Trial) -> None:
    """Check that anchors with two positives get a finite gradient, which with negatives is not 0."""
    anchors, positives, negatives = _sides(0)
    nobody = Negatives(negatives.keys, torch.zeros(_IMAGES, dtype=torch.int64), torch.zeros(24, dtype=torch.int64))
    for given in (negatives, nobody):
        loss = _fitted(trial)(anchors, positives, given, make_step(_IMAGES)).loss
        gradient = torch.autograd.grad(loss, anchors, allow_unused=True, materialize_grads=True)[0]
        trial.subject.require(
            bool(loss.isfinite()) and bool(gradient.isfinite().all()),
            f"{'without negatives ' if given is nobody else ''}the loss ({loss.item():.4g}) or its gradient is not "
            "finite. Leave out anchors without negatives, and look for 0/0, log(0) and roots of 0.",
        )
        trial.subject.require(
            given is nobody or bool(gradient.any()), "no gradient reaches the anchors. Look for detach and argmax."
        )


def _alike(which: str, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return two views (N, D), some vectors of which are made equal."""
    if which == "vectors of two images":
        first[1], second[1] = first[0], second[0]
        return first, second
    first = first[:1].repeat(len(first), 1) if which == "all vectors" else first
    return first, first.clone()


def equal_vectors_have_finite_gradients(trial: Trial) -> None:
    """Check that the loss and its gradients are finite for equal vectors, as after a collapse or of copied images."""
    tried = FAMILIES[family(trial.subject)]
    for which in ("both views", "vectors of two images", "all vectors"):
        loss = _fitted(trial)
        first, second = (side.requires_grad_() for side in _alike(which, *tried.views()))
        try:
            value = tried.of_views(loss, first, second)
        except PipelineError:
            continue  # refused with an explanation
        inputs = [first, second, *(weight for weight in loss.parameters() if weight.requires_grad)]
        gradients = torch.autograd.grad(value, inputs, allow_unused=True, materialize_grads=True)
        trial.subject.require(
            bool(value.isfinite()) and all(bool(gradient.isfinite().all()) for gradient in gradients),
            f"if {which} are equal, the loss ({value.item():.4g}) or its gradient is not finite. Look for acos, roots "
            "and logarithms at 0 or 1, and clamp their arguments, as in (1 - cos).clamp(min=1e-7).",
        )


def loss_heeds_the_negatives_it_is_given(trial: Trial) -> None:
    """Check that a negative of weight 0 has the same effect as its absence."""
    loss = _fitted(trial)
    if "selected" in loss.refuses:
        return
    anchors, positives, negatives = _sides(5)
    kept = torch.arange(24) % 3 != 0

    def log_weight(tile: Tile) -> Tensor:
        return torch.zeros_like(tile.similarities).masked_fill(~kept[None, tile.keys], -torch.inf)

    weighted = Negatives(negatives.keys, negatives.anchor_samples, negatives.key_samples, log_weight)
    fewer = Negatives(negatives.keys[kept], negatives.anchor_samples, negatives.key_samples[kept])
    found, wanted = (
        _fitted(trial)(anchors, positives, given, make_step(_IMAGES)).loss.item() for given in (weighted, fewer)
    )
    trial.subject.require(
        abs(found - wanted) <= 1e-4 * max(1.0, abs(wanted)),
        f"negatives of weight 0 change the loss: {found:.6g}, without them {wanted:.6g}. Use negatives.log_weight, as "
        "ssl_pipeline.contrast does, or say in `refuses` why strategies that select make no sense with this loss.",
    )


def task_leaves_what_ships(trial: Trial) -> None:
    """Check that `predict` returns one row per image, and a named energy head one number per input."""
    task, require = trial.task(0).eval(), trial.subject.require
    images = trial.subject.some_images(5)
    found = task.predict(images)
    require(
        len(found) == 5 and bool(found.isfinite().all()),
        f"predict returns {tuple(found.shape)} for 5 images, or is not finite. Return (N, ...).",
    )
    head = task.energy_head
    if head is None:
        return
    require(
        isinstance(head, EnergyHead | ImageEnergyHead),
        "energy_head must be an EnergyHead or an ImageEnergyHead of ssl_pipeline.types, or None.",
    )
    if isinstance(head, ImageEnergyHead):
        corrupted = head.corrupt(images, torch.rand(5, head.uniforms))
        require(corrupted.shape == images.shape, f"corrupt returns {tuple(corrupted.shape)} for {tuple(images.shape)}.")
        energy = head(task.encoder, corrupted)
    else:
        embeddings = task.encoder(images)
        energy = head(embeddings, embeddings.flip(0))
    name = getattr(head, "name", "")
    require(
        bool(name) and energy.shape == (5,),
        f"energy_head '{name}' returns {tuple(energy.shape)} for 5 inputs. It must have a name and return (N,).",
    )


def plain_loss(encoded: Encoded, step: Step) -> Tensor:
    """Return the loss that strategies are judged by: the simplest one, over all negatives of a batch."""
    return compare_pairs(encoded["embeddings"], step, Plain(), InBatch()).loss
