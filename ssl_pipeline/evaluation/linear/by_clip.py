"""Whole clips under the linear probe and nearest neighbours: the embedding of a clip is the mean of its frames'.

A clip is one sample here, in training as well as in the test, whatever the number of its frames. Test clips share no
frame with what was trained on, as a clip is in one split.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.config import LinearEvalConfig
from ssl_pipeline.data.labelled import Labelled, LabelledSplits
from ssl_pipeline.evaluation.features import Embed, extract, unit
from ssl_pipeline.evaluation.linear import knn
from ssl_pipeline.evaluation.linear.comparison import BACKBONE, KNN, START, Settled, flat
from ssl_pipeline.evaluation.linear.sentences import percent
from ssl_pipeline.evaluation.linear_probe import Probe, fit, fit_at
from ssl_pipeline.evaluation.statistics.intervals import score
from ssl_pipeline.evaluation.statistics.wording import gained

__all__ = ["Clips", "clip_lines", "mean_of_frames", "study_clips"]

_RANDOM = "random_encoder"
_CONTESTED = (BACKBONE, START, _RANDOM)

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


class Clips(NamedTuple):
    """Some clips.

    Attributes:
        features: (c, D) means of the embeddings of their frames, scaled to length 1.
        labels: (c,) class numbers.
        groups: (c,) numbers, equal for clips of one group, as for those that share a picture.
    """

    features: Features
    labels: Numbers
    groups: Numbers


def mean_of_frames(features: Features, data: Labelled) -> Clips:
    """Return the clips that labelled images are frames of; images that are no frames are left out.

    Args:
        features: (n, D) embeddings of the images.
        data: The images. Frames of one clip that have different labels count as clips of their own.
    """
    moments = data.split.moments
    clips = np.full(len(data), -1) if moments is None else moments.clips[data.rows]
    frames = np.flatnonzero(clips >= 0)
    named = np.stack([clips[frames], data.labels[frames]], axis=1)
    clip, first, numbers = np.unique(named, axis=0, return_index=True, return_inverse=True)
    sums = np.zeros((len(clip), features.shape[1]), np.float32)
    np.add.at(sums, numbers.ravel(), features[frames])  # which has the direction of the mean
    return Clips(unit(sums), clip[:, 1], data.groups[frames][first])


def study_clips(settled: Settled, data: LabelledSplits, settings: LinearEvalConfig) -> dict[str, Any]:
    """Return accuracies by clip of the backbone, by its probe and by kNN, beside those of what it must beat.

    Args:
        settled: What was chosen by frame; the probes of clips have strengths of their own.
        data: The labelled images.
        settings: The section `linear_eval`.

    Returns:
        Figures as those of frames, and numbers of clips; nothing where the images are no frames, or none is to be
        tested.
    """
    if data.train.split.moments is None or data.test.split.moments is None or not len(data.test):
        return {}
    predictions: dict[str, Numbers] = {}
    choices: dict[str, Any] = {}
    for name in [name for name in _CONTESTED if name in settled.contestants]:
        embed = settled.contestants[name].embed
        train, val, test = (_clips(embed, part) for part in (data.train, data.val, data.test))
        if len(np.unique(train.labels)) < 2 or not len(test.labels):
            return {}
        bank, labels = np.concatenate([train.features, val.features]), np.concatenate([train.labels, val.labels])
        probe = _fitted(train, val, bank, labels, settings.strengths, len(data.classes))
        predictions[name] = probe.predict(test.features)
        choices[name] = {"strength": probe.strength, "converged": probe.converged}
        if name == BACKBONE:
            nearest = settings.knn
            predictions[KNN] = knn.predict(bank, labels, test.features, nearest.k, nearest.temperature)
            choices[KNN] = {"k": min(nearest.k, len(bank)), "temperature": nearest.temperature}
            counts = {"train": len(train.labels), "val": len(val.labels), "test": len(test.labels)}
    scores = score(test.labels, predictions, test.groups, settings.bootstrap, settings.seed)
    found = {name: flat(partial(scores.interval, name)) for name in predictions}
    figures = {name: found[name] | choices[name] for name in predictions}
    for name in set(figures) & {START, _RANDOM}:
        figures[f"gain_over_{name}"] = flat(partial(scores.gain, BACKBONE, name))
    backbone: dict[str, Any] = figures.pop(BACKBONE)
    return {"by_clip": backbone | dict(sorted(figures.items())) | {"clips": counts}}


def _clips(embed: Embed, data: Labelled) -> Clips:
    return mean_of_frames(extract(embed, data), data)


def _fitted(train: Clips, val: Clips, bank: Features, labels: Numbers, strengths: Any, classes: int) -> Probe:
    """Choose the penalty on validation clips, and fit a probe on these and the training clips together."""
    chosen = fit(train.features, train.labels, strengths, val.features, val.labels, class_count=classes)
    return fit_at(bank, labels, chosen.strength, class_count=classes)


def clip_lines(metrics: dict[str, Any]) -> list[str]:
    """Return what the figures by clip say, in lines; none where there are none."""
    if "by_clip" not in metrics:
        return []
    found = metrics["by_clip"]
    lines = [
        f"linear_eval: by clip, whose embedding is the mean of its frames': linear probe {percent(found)}, "
        f"kNN {percent(found[KNN])} on {found['clips']['test']} test clips"
    ]
    for name, described in {START: "the weights it started from", _RANDOM: "random encoder"}.items():
        if name in found:
            points = gained(found[f"gain_over_{name}"])
            lines.append(f"  {described} {percent(found[name])}: the backbone gains {points} points")
    return lines
