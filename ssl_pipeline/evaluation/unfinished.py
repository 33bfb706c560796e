"""How good an encoder is that is still being trained, or has just been: a look from outside, which changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from ssl_pipeline.artifacts.assembly import build_task, untrained
from ssl_pipeline.artifacts.card import ModelCard, read_card
from ssl_pipeline.artifacts.files import ENCODER, load_encoder
from ssl_pipeline.config import Knn
from ssl_pipeline.data.labelled import Labelled, read_labelled
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.evaluation.features import embedder, extract, sample
from ssl_pipeline.evaluation.linear.knn import predict
from ssl_pipeline.health.findings import looked_at
from ssl_pipeline.products import read_json
from ssl_pipeline.registry import Registry
from ssl_pipeline.terminal import brief, counted
from ssl_pipeline.training.average import put_average
from ssl_pipeline.training.checkpoint import newest_first, read_state
from ssl_pipeline.types import Encoder

__all__ = ["Glance", "describe", "latest"]

_BANK_IMAGES = 2000  # labelled training images that vote
_ASKED_IMAGES = 1000  # validation images that are asked about
_SHOWN = ("loss", "effective_rank", "embedding_std", "alignment", "uniformity", "view_recall", "view_size")
"""Figures of the last row of the curves that need no label."""


@dataclass(frozen=True)
class Glance:
    """An encoder at some moment of its training.

    Attributes:
        encoder: The encoder as it would ship.
        card: The description of the encoder.
        place: The file that it was read from.
        written: When that file was written, in seconds since the epoch.
        progress: How far its training is, in words.
        figures: The last row of its curves for which it was looked at, None for a figure that is no number; empty
            where there is none.
    """

    encoder: Encoder
    card: ModelCard
    place: Path
    written: float
    progress: str
    figures: Mapping[str, float | None]


def latest(registry: Registry, work: Path, pretrain: Path, details: Path) -> Glance:
    """Read the newest of the checkpoints of unfinished runs and of the model of the last finished one.

    No lock is taken: a checkpoint has its name only when it is whole, and it is only read.

    Args:
        registry: The registry that has the backbone and the parts of the method.
        work: The folder of unfinished runs.
        pretrain: The folder of the pretrained model.
        details: The file of the figures with which its training ended; it need not be there.

    Raises:
        PipelineError: There is neither, or none that can be read.
    """
    model = pretrain / ENCODER
    finished = model.stat().st_mtime if model.exists() else 0.0
    refused = []
    for path, written in newest_first(work):
        if written < finished:
            break
        try:
            return _unfinished(registry, path, written)
        except (ValueError, RuntimeError, OSError) as error:  # damaged, of other code by now, or just removed
            refused.append(f" {path} {brief(error)}.")
    if not finished:
        raise PipelineError(
            f"there is no checkpoint in {work}, and no model in {pretrain}, that could be watched.{''.join(refused)} "
            "Run `dvc repro`, or wait: pretrain writes its first checkpoint after pretrain.checkpoint_minutes."
        )
    encoder, card = load_encoder(registry, pretrain)
    last = read_json(details, "pretrain") if details.exists() else {}
    return Glance(encoder, card, model, finished, "whose training is done", last)


def _unfinished(registry: Registry, path: Path, written: float) -> Glance:
    state, card = read_state(path), read_card(path.parent)
    task = build_task(registry, card.recipe, untrained(registry, card, card.seed), card.seed, card.size)
    task.load_state_dict(state["module"])
    if average := state.get("average"):
        put_average(task, average)
    task.finish()
    rows = state["history"]["rows"]
    progress = f"after {counted(state['steps'], 'step')}"
    looks = [row for row in rows if looked_at(row)] or rows[-1:]
    return Glance(task.encoder, card, path, written, progress, looks[-1] if looks else {})


def describe(glance: Glance, store: Path, knn: Knn) -> list[str]:
    """Say how good an encoder is: by nearest neighbours where there are labels, by its last figures in any case.

    It is computed on the CPU, which leaves the memory of an accelerator to the training.

    Args:
        glance: The encoder.
        store: The folder of the images.
        knn: How neighbours vote.

    Returns:
        One sentence for each line.

    Raises:
        PipelineError: The store has images of another type than those that the encoder was trained on.
    """
    at = datetime.fromtimestamp(glance.written).strftime("%H:%M:%S")
    lines = [f"{glance.card.recipe.name}, {glance.progress} ({glance.place}, written at {at})"]
    data = read_labelled(store)
    if len(np.unique(data.train.labels)) > 1 and len(data.val):
        lines.append(_neighbours(glance, data.train, data.val, knn))
    else:
        lines.append("no kNN, which needs labels of two classes in the training images, and labels in validation")
    known = {name: glance.figures[name] for name in _SHOWN if glance.figures.get(name) is not None}
    if known:
        shown = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in known.items())
        lines.append(f"at step {glance.figures['step']:,.0f}: {shown}")
    return lines


def _neighbours(glance: Glance, bank: Labelled, asked: Labelled, knn: Knn) -> str:
    if bank.spec != glance.card.images:
        raise PipelineError(
            f"the images of the store are not of the type that the encoder in {glance.place} was trained on."
        )
    embed = embedder(FromPixels(glance.card, glance.encoder), torch.device("cpu"))
    voters, queries = sample(bank, _BANK_IMAGES), sample(asked, _ASKED_IMAGES)
    features, questions = extract(embed, bank, voters), extract(embed, asked, queries)
    right = predict(features, bank.labels[voters], questions, knn.k, knn.temperature) == asked.labels[queries]
    return (
        f"kNN: {right.mean():.1%} of {counted(len(queries), 'validation image')} are given their class by the "
        f"{min(knn.k, len(voters))} nearest of {counted(len(voters), 'training image')}"
    )
