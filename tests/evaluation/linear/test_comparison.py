from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ssl_pipeline.config import Clusters, Knn, LinearEvalConfig
from ssl_pipeline.data.labelled import Labelled
from ssl_pipeline.data.store import open_split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.evaluation.linear.baselines import raw_pixels
from ssl_pipeline.evaluation.linear.comparison import BACKBONE, KNN, figures, predict, settle

X, Y = load_digits(return_X_y=True)
PARTS = {"train": slice(0, 150), "val": slice(150, 250), "test": slice(250, 400)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Labelled]:
    store = tmp_path_factory.mktemp("store")
    images = np.repeat((X * 15.9).astype(np.uint8).reshape(-1, 8, 8, 1), 3, axis=3)
    found = {}
    for name, part in PARTS.items():
        rows = np.arange(part.stop - part.start)
        write_split(store / name, rows.astype(np.uint64), [images[part]], 8)
        found[name] = Labelled(open_split(store, name), rows, Y[part], rows)
    return found


def mean_grey(images: np.ndarray) -> np.ndarray:
    return images.mean(axis=(1, 2), dtype=np.float32)


@pytest.mark.parametrize("candidates", [[raw_pixels, mean_grey], [mean_grey, raw_pixels]])
def test_of_several_representations_the_one_that_does_best_on_validation(data, candidates):
    settled = settle({BACKBONE: [raw_pixels], "random": candidates}, data["train"], data["val"], [0.1], 10)
    contestant = settled.contestants["random"]
    assert contestant.embed is raw_pixels
    assert contestant.draws == 2
    assert contestant.probe.weight.tobytes() == settled.contestants[BACKBONE].probe.weight.tobytes()


def test_probe_learns_from_train_and_validation_once_the_penalty_is_chosen(data):
    settled = settle({BACKBONE: [raw_pixels]}, data["train"], data["val"], [0.01, 0.1], 10)
    pixels = {name: raw_pixels(part.images(np.arange(len(part)))) for name, part in data.items()}
    both = np.concatenate([pixels["train"], pixels["val"]])
    np.testing.assert_array_equal(settled.bank, both)
    np.testing.assert_array_equal(settled.labels, Y[:250])
    probe = settled.contestants[BACKBONE].probe
    assert probe.validation[probe.strength] == max(probe.validation.values())

    scaler = StandardScaler().fit(both.astype(np.float64))
    model = LogisticRegression(C=probe.strength, max_iter=5000, tol=1e-8).fit(scaler.transform(both), Y[:250])
    expected = model.predict_proba(scaler.transform(pixels["test"]))
    np.testing.assert_allclose(probe.predict_proba(pixels["test"]), expected, atol=0.01)


def test_predictions_of_all_contestants_and_of_neighbours(data):
    settled = settle({BACKBONE: [raw_pixels], "grey": [mean_grey]}, data["train"], data["val"], [0.1], 10)
    predictions = predict(settled, data["test"], Knn(k=5, temperature=0.1))
    right = {name: (labels == Y[PARTS["test"]]).mean() for name, labels in predictions.items()}
    assert right.keys() == {BACKBONE, KNN, "grey"}
    assert min(right[BACKBONE], right[KNN]) > 0.85 > 0.35 > right["grey"]


def test_figures_of_images_in_groups_are_less_certain(data):
    knn, clusters = Knn(k=5, temperature=0.1), Clusters(images=100, runs=2, view="plain")
    settings = LinearEvalConfig(seed=0, strengths=[0.1], knn=knn, bootstrap=100, rivals=[], clusters=clusters)
    settled = settle({BACKBONE: [raw_pixels], "grey": [mean_grey]}, data["train"], data["val"], [0.1], 10)
    test = data["test"]
    predictions = predict(settled, test, knn)
    predictions[BACKBONE] = np.where(test.rows < 140, test.labels, (test.labels + 1) % 10)  # wrong in one group only
    alone, grouped = (
        figures(settled, predictions, replace(test, groups=groups), settings) for groups in (test.rows, test.rows // 10)
    )
    for measure in ("accuracy", "balanced_accuracy"):
        for name in (None, "gain_over_grey"):
            one, other = (found[name] if name else found for found in (alone, grouped))
            assert one[measure] == other[measure]
            width, wider = (part[f"{measure}_high"] - part[f"{measure}_low"] for part in (one, other))
            assert wider > 1.3 * width
