"""Checks of negative-sampling strategies: the promises of `Negatives` about keys, their images and their weights."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssl_pipeline.contrast.similarity import total_weight
from ssl_pipeline.testing.material import make_step, unit_vectors
from ssl_pipeline.testing.subject import Subject
from ssl_pipeline.testing.training import Trial
from ssl_pipeline.types import Candidates, Negatives, Tile

__all__ = ["negatives_are_as_promised"]

_IMAGES, _DIM = 12, 8


def negatives_are_as_promised(trial: Trial) -> None:
    """Check that keys, samples, weights and rows have the shapes and ranges that `Negatives` states."""
    strategy, require = trial.subject.build(), trial.subject.require
    shown: list[tuple[Tensor, Tensor]] = []
    for number in range(3):
        anchors = unit_vectors(_IMAGES, _DIM, 2 * number)
        keys = torch.cat([anchors, torch.nn.functional.normalize(anchors + 0.3 * unit_vectors(12, _DIM, 9), dim=1)])
        step = make_step(_IMAGES, number, number, 3)
        samples = step.ids
        shown.append((keys, samples.repeat(2)))
        found = strategy.select(Candidates(anchors, keys[_IMAGES:], samples, keys, samples.repeat(2), step))
        lengths = found.keys.norm(dim=1)
        require(
            found.keys.shape[1:] == (_DIM,) and torch.allclose(lengths, torch.ones_like(lengths), atol=1e-4),
            f"keys {tuple(found.keys.shape)} must be (K, {_DIM}) and of unit length, like the candidates.",
        )
        require(
            torch.equal(found.anchor_samples, samples) and found.key_samples.shape == (len(found.keys),),
            "anchor_samples must be those of the candidates, and key_samples the ids (K,) of the images of the keys.",
        )
        _keys_keep_their_images(trial.subject, found, shown)
        require(
            found.attracted is None or found.attracted.shape[::2] == anchors.shape,
            "attracted must be (A, M, D), with equally many keys for each anchor.",
        )
        require(0 <= found.class_prior < 1, f"class_prior is {found.class_prior}; it must lie in [0, 1).")
        shapes = {name: tuple(row.shape) for name, row in found.rows.items() if row.shape != (_IMAGES,)}
        require(not shapes, f"rows must be (A,), one number per anchor; these are not: {shapes}.")
        _weights_are_in_range(trial.subject, anchors, found)
        strategy.after_step(step, found.kept)


def _keys_keep_their_images(subject: Subject, found: Negatives, shown: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Check that every key that was a candidate, in this step or an earlier one, still has its id."""
    keys, samples = (torch.cat(parts) for parts in zip(*shown, strict=True))
    closeness, which = (found.keys.detach() @ keys.T).max(dim=1)
    known = closeness > 1 - 1e-5
    subject.require(
        torch.equal(found.key_samples[known], samples[which[known]]),
        "a key has lost the id of its image, or has that of another one, so an image would meet its own key as a "
        "negative. Store candidates.key_samples with the keys, also in a memory (ssl_pipeline.parts.memory.KeyMemory "
        "does).",
    )


def _weights_are_in_range(subject: Subject, anchors: Tensor, found: Negatives) -> None:
    if found.log_weight is None:
        return
    columns = {name: row[:, None] for name, row in found.rows.items()}
    tile = Tile(anchors @ found.keys.T, slice(0, len(anchors)), slice(0, len(found.keys)), columns)
    logs = found.log_weight(tile)
    subject.require(
        logs.shape == tile.similarities.shape and not bool(logs.isnan().any()) and bool((logs < torch.inf).all()),
        f"log_weight returns {tuple(logs.shape)} for a tile {tuple(tile.similarities.shape)}, or NaN or infinity. "
        "Return the logarithm of each pair's weight, -inf for a pair that is left out.",
    )
    others = found.anchor_samples[:, None] != found.key_samples[None, :]
    weights = logs.exp()[others]
    mean = total_weight(anchors, found) / others.sum(dim=1).clamp(min=1)
    subject.require(
        bool(((weights == 0) | (weights == 1)).all()) or torch.allclose(mean, torch.ones_like(mean), atol=1e-3),
        f"weights other than 0 and 1 have a mean of {mean.mean().item():.4g} over an anchor's negatives. Make it 1, or "
        "they would scale a loss that sums over negatives.",
    )
