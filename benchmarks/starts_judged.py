"""Judge the arms of `benchmarks.starts` with few labels and with all: which test images are classified correctly."""

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
"""Number of draws of labels for each budget; the draws are the same for all arms and seeds."""
STRENGTHS = (1e-3, 1e-2, 0.1, 1.0)
NEIGHBOURS, TEMPERATURE = 20, 0.07

Features = npt.NDArray[np.float32]
Right = dict[str, list[npt.NDArray[np.bool_]]]


def judged(name: str, arm: str, data: LabelledSplits, weights: Path, epochs: int, seed: int) -> dict[str, Any]:
    """Train an arm, and return a line: which test images it classifies correctly, its accuracy and its time.

    Args:
        name: Name of the set.
        arm: Name of the arm.
        data: Images of the set.
        weights: Folder of the files of weights.
        epochs: Number of epochs.
        seed: Seed of the training; for arms that learn from labels, also the number of the draw of labels.
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
    """Judge frozen features of training, validation and test images by kNN and by a linear probe.

    Returns:
        For each measure and each draw of labels, which test images are classified correctly; and accuracies on the
        validation images, the only figures by which settings may be chosen.
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
