"""Evaluate an encoder during or after its training, from outside and without changing anything."""

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
_ASKED_IMAGES = 1000  # validation images that are classified
_RESAMPLES = 1000  # resamples of the validation images, for the intervals of differences
_NOW, _START = "the newest", "the starting weights"
_SHOWN = ("loss", "effective_rank", "embedding_std", "alignment", "uniformity", "view_recall", "view_size")
"""Figures of the curves that need no labels."""
_HELD_OUT = ("held_out_recall", "held_out_effective_rank", "neighbour_drift")


@dataclass(frozen=True)
class Glance:
    """An encoder at one moment of its training.

    Attributes:
        encoder: Encoder as it would ship.
        card: Card of the encoder.
        place: Path of the file that the encoder was read from.
        written: Time at which that file was written, in seconds since 1970 (Unix time).
        progress: Progress of the training, in words.
        figures: Last row of the curves with figures of the embeddings, None for a figure that is not finite; empty if
            there is no row.
        held_out: Last row with figures of held-out images; empty if there is none.
        beside: Description -> encoder to compare with: the start of training, and the best step so far.
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
    """Read the newest encoder: a checkpoint of an unfinished run, or the model of the last finished run.

    This takes no lock: a checkpoint gets its name only once it is complete, and it is only read.

    Args:
        registry: Registry of the backbone and the parts of the method.
        work: Folder of unfinished runs.
        pretrain: Folder of the pretrained model.
        details: File with the figures at the end of its training; it may be missing.

    Raises:
        PipelineError: There is neither a checkpoint nor a model that can be read.
    """
    model = pretrain / ENCODER
    finished = model.stat().st_mtime if model.exists() else 0.0
    refused = []
    for path, written in newest_first(work):
        if written < finished:
            break
        try:
            return _unfinished(registry, path, written)
        except (ValueError, RuntimeError, OSError) as error:  # damaged, written by different code, or just removed
            refused.append(f" {path} {brief(error)}.")
    if not finished:
        raise PipelineError(
            f"nothing to watch: there is no readable checkpoint in {work} and no model in {pretrain}."
            f"{''.join(refused)} "
            "Run `dvc repro`, or wait: pretrain writes its first checkpoint after pretrain.checkpoint_minutes."
        )
    encoder, card = load_encoder(registry, pretrain)
    last = read_json(details, "pretrain") if details.exists() else {}
    chosen = "" if card.shipped_step is None else f"; step {card.shipped_step:,} ships"
    start = started(registry, pretrain)
    beside = {} if start is None else {_START: start}
    return Glance(encoder, card, model, finished, f"training finished{chosen}", last, last, beside)


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
    """Return the encoder that training would produce from the weights of a task, or from their running average."""
    task = build_task(registry, card.recipe, untrained(registry, card, card.seed), card.seed, card.size)
    task.load_state_dict(weights)
    if average:
        put_average(task, average)
    task.finish()
    return task.encoder


def describe(glance: Glance, store: Path, knn: Knn) -> list[str]:
    """Describe how good an encoder is: its kNN accuracy if there are labels, and its last figures in any case.

    The computation runs on the CPU, so that the memory of an accelerator remains free for the training.

    Args:
        glance: Encoder to describe.
        store: Folder of the store of images.
        knn: Settings of the vote among neighbours.

    Returns:
        One sentence per line.

    Raises:
        PipelineError: The images of the store differ in type from those that the encoder was trained on.
    """
    at = datetime.fromtimestamp(glance.written).strftime("%H:%M:%S")
    lines = [f"{glance.card.recipe.name}, {glance.progress} ({glance.place}, written at {at})"]
    data = read_labelled(store)
    if len(np.unique(data.train.labels)) > 1 and len(data.val):
        lines += _neighbours(glance, data.train, data.val, knn)
    else:
        lines.append("no kNN accuracy: it needs training images of two classes or more, and labelled validation images")
    for row, where, names in ((glance.figures, "", _SHOWN), (glance.held_out, ", on held-out images", _HELD_OUT)):
        known = {name: row[name] for name in names if row.get(name) is not None}
        if known:
            shown = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in known.items())
            lines.append(f"at step {row['step']:,.0f}{where}: {shown}")
    return lines


def _neighbours(glance: Glance, bank: Labelled, asked: Labelled, knn: Knn) -> list[str]:
    """Return lines on the kNN accuracy of the encoder, and on its gain over each of the others."""
    if bank.spec != glance.card.images:
        raise PipelineError(
            f"the images of the store differ in type from those that the encoder in {glance.place} was trained on."
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
        f"kNN: {(predictions[_NOW] == actual).mean():.1%} of {counted(len(queries), 'validation image')} are "
        f"classified correctly by their {min(knn.k, len(voters))} nearest of {counted(len(voters), 'training image')}"
    ]
    for name in glance.beside:
        gain = scores.gain(_NOW, name, "accuracy")
        verdict = "no clear difference" if gain.low <= 0 <= gain.high else "better" if gain.low > 0 else "WORSE"
        lines.append(
            f"compared with {name} ({(predictions[name] == actual).mean():.1%}): "
            f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] points, {verdict}"
        )
    return lines
