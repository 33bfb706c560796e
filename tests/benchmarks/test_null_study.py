"""The null study on a small scale: encoders that were never trained neither help nor hurt."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.null_study import row_of, study_null
from ssl_pipeline.augment.policy import Policies, Policy
from ssl_pipeline.data.labelled import Labelled, LabelledSplits
from ssl_pipeline.data.store import open_split
from ssl_pipeline.data.writer import write_split

CROP = {"p": 1.0, "scale": [0.7, 1.0], "ratio": [0.85, 1.18]}


def digits(store: Path) -> LabelledSplits:
    """Write a store of the digits 0, 1 and 2, 8 px: 40 for training, 24 for validation and 90 for the test."""
    x, y = load_digits(return_X_y=True)
    keep = np.flatnonzero(y < 3)[:154]
    images = np.repeat((x[keep] * 15.9).astype(np.uint8).reshape(-1, 8, 8, 1), 3, axis=3)
    parts = {}
    for name, part in (("train", slice(40)), ("val", slice(40, 64)), ("test", slice(64, 154))):
        count = len(keep[part])
        write_split(store / name, np.arange(part.start or 0, part.stop, dtype=np.uint64), [images[part]], 8)
        parts[name] = Labelled(open_split(store, name), np.arange(count), y[keep[part]], np.arange(count))
    return LabelledSplits(**parts, classes=("zero", "one", "two"))


def test_no_headline_is_wrong_of_a_few_seeds(tmp_path):
    data = digits(tmp_path)
    plain = Policy.model_validate({"size": 8, "random_resized_crop": CROP})
    policies = Policies(seed=0, views={"plain": plain})
    settings = {"budgets": [2, 5], "draws": 3, "steps": 2, "batch_size": 8, "learning_rates": [1e-3]}
    rows = [row_of(seed, study_null(settings, data, policies, seed), data) for seed in range(4)]
    assert not any(row["wrong"] for row in rows)
    assert len({row["over_random"]["2"] for row in rows}) == 4  # a different encoder for each seed
    assert all(0 <= p <= 1 for row in rows for p in row["p"].values())
