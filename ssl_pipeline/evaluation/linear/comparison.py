"""Compare the trained backbone with its baselines on an equal footing: same images, same probe, same path of penalties.

Everything is settled first on train and validation, and only then is the test split opened, once. No function that
settles anything takes test images or test labels as arguments.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline import ranks
from ssl_pipeline.config import Knn, LinearEvalConfig
from ssl_pipeline.data.labelled import Labelled
from ssl_pipeline.evaluation.features import Embed, extract
from ssl_pipeline.evaluation.linear import knn
from ssl_pipeline.evaluation.linear_probe import Probe, fit, fit_at
from ssl_pipeline.evaluation.statistics.intervals import MEASURES, Interval, score

__all__ = ["BACKBONE", "KNN", "START", "Contestant", "Settled", "figures", "flat", "predict", "settle"]

BACKBONE, KNN = "linear_probe", "knn"
"""Names of the classifiers on the trained backbone; all other names are baselines."""
START = "start"
"""Name of the encoder with the weights that pretraining started from, if these were not random."""

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class Contestant(NamedTuple):
    """A representation of images with its probe; of `draws` candidates, the best on validation."""

    embed: Embed
    probe: Probe
    draws: int


class Settled(NamedTuple):
    """Everything that is fitted or chosen before the test.

    Attributes:
        contestants: Name -> contestant: the trained backbone, as `BACKBONE`, and the baselines.
        bank: Features (n, D) of all labelled images of train and validation, by the backbone.
        labels: Labels (n,) of these images.
        banks: Contestant -> features of the same images, for baselines that are also evaluated by kNN.
        fitted: Probe of the backbone on training images alone, with which its strength was chosen.
    """

    contestants: Mapping[str, Contestant]
    bank: Features
    labels: Labels
    banks: Mapping[str, Features]
    fitted: Probe


def settle(
    candidates: Mapping[str, Sequence[Embed]],
    train: Labelled,
    val: Labelled,
    strengths: Sequence[float],
    classes: int,
    neighbours: Collection[str] = (),
) -> Settled:
    """Choose each contestant's penalty on validation, then fit its probe on train and validation together.

    Args:
        candidates: Contestant -> representations; several if it is random, of which the best on validation is used.
        train: Labelled training images of two classes or more.
        val: Labelled validation images; may be empty.
        strengths: Path of inverse penalties.
        classes: Number of classes.
        neighbours: Contestants beside the backbone that are also evaluated by kNN.
    """
    contestants, bank, banks, fitted = {}, np.empty((0, 0), np.float32), {}, None
    labels = np.concatenate([train.labels, val.labels])
    for name, embeds in candidates.items():
        best, best_accuracy = None, -1.0
        for embed in embeds:
            features, held_out = extract(embed, train), extract(embed, val)
            probe = fit(features, train.labels, strengths, held_out, val.labels, class_count=classes)
            # all ranks choose the same one, even if the last bits of their probes differ
            accuracy = ranks.told(probe.validation.get(probe.strength, 0.0))
            if accuracy > best_accuracy:
                best, best_accuracy = (embed, probe, np.concatenate([features, held_out])), accuracy
        assert best is not None  # there is a candidate, and no accuracy is below 0
        embed, chosen, everything = best
        refitted = fit_at(everything, labels, chosen.strength, class_count=classes)
        contestants[name] = Contestant(embed, replace(refitted, validation=chosen.validation), len(embeds))
        if name == BACKBONE:
            bank, fitted = everything, chosen
        elif name in neighbours:
            banks[name] = everything
    assert fitted is not None  # the backbone is a candidate
    return Settled(contestants, bank, labels, banks, fitted)


def predict(settled: Settled, test: Labelled, neighbours: Knn) -> dict[str, Labels]:
    """Return each contestant's predictions (n,) for the test images, by probe and, if it has a bank, by kNN."""
    predictions = {}
    for name, contestant in settled.contestants.items():
        features = extract(contestant.embed, test)
        predictions[name] = contestant.probe.predict(features)
        if name == BACKBONE:
            predictions[KNN] = knn.predict(settled.bank, settled.labels, features, neighbours.k, neighbours.temperature)
        elif name in settled.banks:
            bank = settled.banks[name]
            predictions[_knn(name)] = knn.predict(bank, settled.labels, features, neighbours.k, neighbours.temperature)
    return predictions


def figures(
    settled: Settled, predictions: Mapping[str, Labels], test: Labelled, settings: LinearEvalConfig
) -> dict[str, Any]:
    """Return the results of the contest: the backbone's probe at the top level; kNN, baselines and gains nested.

    Args:
        settled: Contestants, as `settle` returns them.
        predictions: Predictions, as `predict` returns them.
        test: Labelled test images; if there are none, the results contain no accuracy.
        settings: Section `linear_eval` of params.yaml, with the size and seed of the bootstrap.
    """
    found: dict[str, Any] = {name: _choice(contestant) for name, contestant in settled.contestants.items()}
    found[KNN] = {"k": min(settings.knn.k, len(settled.bank)), "temperature": settings.knn.temperature}
    if len(test):
        scores = score(test.labels, predictions, test.groups, settings.bootstrap, settings.seed)
        for name in predictions:
            found[name] = flat(partial(scores.interval, name)) | found.get(name, {})
        for name in [name for name in settled.contestants if name != BACKBONE]:
            found[f"gain_over_{name}"] = flat(partial(scores.gain, BACKBONE, name))
        for name in settled.banks:
            found[name][KNN] = found.pop(_knn(name))
            found[f"gain_over_{name}"][KNN] = flat(partial(scores.gain, KNN, _knn(name)))
    backbone: dict[str, Any] = found.pop(BACKBONE)
    return backbone | dict(sorted(found.items()))


def _knn(name: str) -> str:
    """Return the name of kNN on a contestant's features among the predictions."""
    return f"{KNN} of {name}"


def _choice(contestant: Contestant) -> dict[str, Any]:
    probe = contestant.probe
    held_out = {"validation_accuracy": probe.validation[probe.strength]} if probe.validation else {}
    draws = {"best_of": contestant.draws} if contestant.draws > 1 else {}
    return {"strength": probe.strength, **held_out, "converged": probe.converged, **draws}


def flat(measured: Callable[[str], Interval]) -> dict[str, float]:
    """Return the figure of each measure with the bounds of its interval, as flat keys."""
    found: dict[str, float] = {}
    for measure in MEASURES:
        value, low, high = measured(measure)
        found |= {measure: value, f"{measure}_low": low, f"{measure}_high": high}
    return found
