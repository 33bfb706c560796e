"""What an encoder of `benchmarks.starts` is worth with few labels and with all: which test images it gets right."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.cells import device_name
from benchmarks.starts_arms import BUDGETS, SUPERVISED, embedded, learned, supervised
from ssl_pipeline.data.labelled import LabelledSplits
from ssl_pipeline.evaluation.budgets.label_draws import draw_labels
from ssl_pipeline.evaluation.linear import knn
from ssl_pipeline.evaluation.linear_probe import fit

__all__ = ["DRAWS", "judged"]

DRAWS = 5
"""Draws of labels for each budget, the same ones for all arms and seeds."""
STRENGTHS = (1e-3, 1e-2, 0.1, 1.0)
NEIGHBOURS, TEMPERATURE = 20, 0.07

Features = npt.NDArray[np.float32]
Right = dict[str, list[npt.NDArray[np.bool_]]]


def judged(name: str, arm: str, data: LabelledSplits, weights: Path, epochs: int, seed: int) -> dict[str, Any]:
    """Learn as an arm does, and return a line: what was right, image by image, and what it took.

    Args:
        name: The set.
        arm: The arm.
        data: The set's images.
        weights: The folder of the files of weights.
        epochs: Passes over the training images.
        seed: Seed of all but the draws of labels, which are the same for all.
    """
    began = time.monotonic()
    found: dict[str, Any] = {}
    if arm in SUPERVISED:
        guessed = supervised(arm, name, data, weights, epochs, seed)
        seconds = time.monotonic() - began
        right: Right = {measure: [guess == data.test.labels] for measure, guess in guessed.items()}
    else:
        encoder, curves = learned(arm, name, data, weights, epochs, seed)
        seconds = time.monotonic() - began
        features = [embedded(encoder, part) for part in data[:3]]
        right, validation = probed(features, data)
        found = {"validation": validation, "curves": curves}
        found["parameters"] = sum(value.numel() for value in encoder.backbone.parameters())
    return {
        "device": device_name(),
        "seconds": round(seconds, 1),
        "accuracy": {measure: round(float(np.mean(rows)), 4) for measure, rows in right.items()},
        **found,
        "right": {measure: ["".join("01"[int(one)] for one in row) for row in rows] for measure, rows in right.items()},
        "groups": data.test.groups.tolist(),
    }


def probed(features: list[Features], data: LabelledSplits) -> tuple[Right, dict[str, float]]:
    """Judge frozen features of training, validation and test images: by neighbours, and by a linear probe.

    Returns:
        Measure -> for each draw of labels, whether each test image is right; and accuracies on validation, by which
        alone anything may be chosen.
    """
    learned_, held_out, asked = features
    train, val, test, classes = data

    def neighbours(queries: Features) -> npt.NDArray[np.int64]:
        return knn.predict(learned_, train.labels, queries, NEIGHBOURS, TEMPERATURE)

    right: Right = {"knn": [neighbours(asked) == test.labels]}
    validation = {"knn": float((neighbours(held_out) == val.labels).mean())}
    for budget in BUDGETS:
        right[str(budget)] = []
        for draw in range(1 if budget == "all" else DRAWS):
            chosen = draw_labels(train.ids, train.labels, budget, 0, draw)
            probe = fit(
                learned_[chosen], train.labels[chosen], STRENGTHS, held_out, val.labels, class_count=len(classes)
            )
            right[str(budget)].append(probe.predict(asked) == test.labels)
    validation["all"] = probe.validation[probe.strength]
    return right, {name: round(value, 4) for name, value in validation.items()}
