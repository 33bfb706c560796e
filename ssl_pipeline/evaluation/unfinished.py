"""How good an encoder is that is still being trained, or has just been: a look from outside, which changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ssl_pipeline.artifacts.assembly import build_task, untrained
from ssl_pipeline.artifacts.card import ModelCard, read_card
from ssl_pipeline.artifacts.files import ENCODER, load_encoder, restore
from ssl_pipeline.artifacts.start import START, started
from ssl_pipeline.config import Knn
from ssl_pipeline.data.labelled import Labelled, read_labelled
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.evaluation.features import embedder, extract, sample
from ssl_pipeline.evaluation.linear.knn import predict
from ssl_pipeline.evaluation.statistics.intervals import score
from ssl_pipeline.health.findings import looked_at
from ssl_pipeline.products import read_json, verified
from ssl_pipeline.registry import Registry
from ssl_pipeline.terminal import brief, counted
from ssl_pipeline.training.average import put_average
from ssl_pipeline.training.checkpoint import newest_first, read_state
from ssl_pipeline.types import Encoder

__all__ = ["Glance", "describe", "latest"]

_BANK_IMAGES = 2000  # labelled training images that vote
_ASKED_IMAGES = 1000  # validation images that are asked about
_RESAMPLES = 1000  # of those images, for the intervals of differences
_NOW, _START = "the newest", "the weights that the run started from"
_SHOWN = ("loss", "effective_rank", "embedding_std", "alignment", "uniformity", "view_recall", "view_size")
"""Figures of the last row of the curves that need no label."""
_HELD_OUT = ("held_out_recall", "held_out_effective_rank", "neighbour_drift")


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
        held_out: The last row that has figures of held-out images; empty where there is none.
        beside: What it is compared with, in words -> an encoder: what training started from, and its best step so far.
    """

    encoder: Encoder
    card: ModelCard
    place: Path
    written: float
    progress: str
    figures: Mapping[str, float | None]
    held_out: Mapping[str, float | None]
    beside: Mapping[str, Encoder]


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
    chosen = "" if card.shipped_step is None else f", step {card.shipped_step:,} of which ships"
    start = started(registry, pretrain)
    beside = {} if start is None else {_START: start}
    return Glance(encoder, card, model, finished, f"whose training is done{chosen}", last, last, beside)


def _unfinished(registry: Registry, path: Path, written: float) -> Glance:
    state, card = read_state(path), read_card(path.parent)
    now = _finished(registry, card, state["module"], state.get("average"))
    rows, steps = state["history"]["rows"], state["steps"]
    looks = [row for row in rows if looked_at(row)] or rows[-1:]
    beside, start = {}, path.with_name(START)
    if start.exists():
        beside[_START] = untrained(registry, card, card.seed).eval()
        restore(beside[_START], verified(start, "pretrain"), "pretrain")
    best = state.get("held_out", {}).get("best")
    if best and 0 < best["step"] < steps:
        name = f"step {best['step']:,}, the best on held-out images"
        beside[name] = _finished(registry, card, best["weights"]).eval()
    progress, apart = f"after {counted(steps, 'step')}", [row for row in rows if _HELD_OUT[0] in row]
    last, unseen = (found[-1] if found else {} for found in (looks, apart))
    return Glance(now, card, path, written, progress, last, unseen, beside)


def _finished(
    registry: Registry, card: ModelCard, weights: Mapping[str, Tensor], average: Mapping[str, Tensor] | None = None
) -> Encoder:
    """Return the encoder that would leave training with the weights of a task, or the average of some of them."""
    task = build_task(registry, card.recipe, untrained(registry, card, card.seed), card.seed, card.size)
    task.load_state_dict(weights)
    if average:
        put_average(task, average)
    task.finish()
    return task.encoder


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
        lines += _neighbours(glance, data.train, data.val, knn)
    else:
        lines.append("no kNN, which needs labels of two classes in the training images, and labels in validation")
    for row, where, names in ((glance.figures, "", _SHOWN), (glance.held_out, ", on held-out images", _HELD_OUT)):
        known = {name: row[name] for name in names if row.get(name) is not None}
        if known:
            shown = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in known.items())
            lines.append(f"at step {row['step']:,.0f}{where}: {shown}")
    return lines


def _neighbours(glance: Glance, bank: Labelled, asked: Labelled, knn: Knn) -> list[str]:
    """Say which share of images get their class by their neighbours, and how much more they are than of each other."""
    if bank.spec != glance.card.images:
        raise PipelineError(
            f"the images of the store are not of the type that the encoder in {glance.place} was trained on."
        )
    voters, queries = sample(bank, _BANK_IMAGES), sample(asked, _ASKED_IMAGES)
    actual, groups = asked.labels[queries], asked.groups[queries]

    def predicted(encoder: Encoder) -> npt.NDArray[np.int64]:
        embed = embedder(FromPixels(glance.card, encoder), torch.device("cpu"))
        features, questions = extract(embed, bank, voters), extract(embed, asked, queries)
        return predict(features, bank.labels[voters], questions, knn.k, knn.temperature)

    predictions = {name: predicted(encoder) for name, encoder in {_NOW: glance.encoder, **glance.beside}.items()}
    scores = score(actual, predictions, groups, _RESAMPLES, 0)
    lines = [
        f"kNN: {(predictions[_NOW] == actual).mean():.1%} of {counted(len(queries), 'validation image')} are given "
        f"their class by the {min(knn.k, len(voters))} nearest of {counted(len(voters), 'training image')}"
    ]
    for name in glance.beside:
        gain = scores.gain(_NOW, name, "accuracy")
        verdict = "no clear difference" if gain.low <= 0 <= gain.high else "better" if gain.low > 0 else "WORSE"
        lines.append(
            f"over {name} ({(predictions[name] == actual).mean():.1%}), that is "
            f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] points: {verdict}"
        )
    return lines
