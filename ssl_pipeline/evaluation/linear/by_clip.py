"""Evaluate whole clips by linear probe and nearest neighbours; a clip's embedding is the mean over its frames.

Here a clip is one sample, in training and in the test, whatever its number of frames. Test clips share no frame with
the training clips, because each clip belongs to one split.
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
    """The features, labels and groups of c clips.

    Attributes:
        features: Mean embeddings of the clips' frames, scaled to unit length, (c, D).
        labels: Class numbers (c,).
        groups: Group numbers (c,), equal for clips of one group, such as clips that share a picture.
    """

    features: Features
    labels: Numbers
    groups: Numbers


def mean_of_frames(features: Features, data: Labelled) -> Clips:
    """Return the clips to which labelled images belong as frames; still images are left out.

    Args:
        features: Embeddings of the images (n, D).
        data: Labelled images, n; frames of one clip with different labels count as different clips.
    """
    moments = data.split.moments
    clips = np.full(len(data), -1) if moments is None else moments.clips[data.rows]
    frames = np.flatnonzero(clips >= 0)
    named = np.stack([clips[frames], data.labels[frames]], axis=1)
    clip, first, numbers = np.unique(named, axis=0, return_index=True, return_inverse=True)
    sums = np.zeros((len(clip), features.shape[1]), np.float32)
    np.add.at(sums, numbers.ravel(), features[frames])  # the sum has the direction of the mean
    return Clips(unit(sums), clip[:, 1], data.groups[frames][first])


def study_clips(settled: Settled, data: LabelledSplits, settings: LinearEvalConfig) -> dict[str, Any]:
    """Return accuracies by clip of the backbone, by linear probe and by kNN, and those of its baselines.

    Args:
        settled: Contestants, as settled by frame; the strengths of their probes are chosen again, by clip.
        data: Labelled images of the three splits.
        settings: Section `linear_eval` of params.yaml.

    Returns:
        The same figures as by frame, and the numbers of clips; empty if the images are not frames, or if there are no
        test clips.
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
    """Choose the penalty on validation clips, and fit a probe on training and validation clips together."""
    chosen = fit(train.features, train.labels, strengths, val.features, val.labels, class_count=classes)
    return fit_at(bank, labels, chosen.strength, class_count=classes)


def clip_lines(metrics: dict[str, Any]) -> list[str]:
    """Return the results by clip as lines; empty if there are none."""
    if "by_clip" not in metrics:
        return []
    found = metrics["by_clip"]
    lines = [
        f"linear_eval: by clip (mean embedding of its frames): linear probe {percent(found)}, "
        f"kNN {percent(found[KNN])} on {found['clips']['test']} test clips"
    ]
    for name, described in {START: "the starting weights", _RANDOM: "random encoder"}.items():
        if name in found:
            points = gained(found[f"gain_over_{name}"])
            lines.append(f"  {described} {percent(found[name])}: the backbone gains {points} points")
    return lines
