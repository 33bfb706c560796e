"""Probe and nearest neighbours on clips: the mean of the frames, clips as units, and no figures without clips."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssl_pipeline.config import Clusters, Knn, LinearEvalConfig
from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.data.labelled import Labelled, LabelledSplits, read_labelled
from ssl_pipeline.data.moments import Moments
from ssl_pipeline.evaluation.linear.baselines import raw_pixels
from ssl_pipeline.evaluation.linear.by_clip import clip_lines, mean_of_frames, study_clips
from ssl_pipeline.evaluation.linear.comparison import BACKBONE, KNN, Settled, settle
from ssl_pipeline.page.facts import accuracies
from tests.factories import digits_store, in_clips

SETTINGS = LinearEvalConfig(
    seed=0,
    strengths=[0.1, 1.0],
    knn=Knn(k=3, temperature=0.1),
    bootstrap=100,
    rivals=[],
    clusters=Clusters(images=100, runs=2, view="plain"),
)


def mean_grey(images: Pixels) -> np.ndarray:
    return images.mean(axis=(1, 2), dtype=np.float32)


def of_one_digit(data: Labelled) -> Labelled:
    """Make clips of three frames of one digit, in mixed order; one image is not a frame."""
    clips = np.full(len(data), -1, np.int64)
    for digit in range(10):
        mine = np.flatnonzero(data.labels == digit)
        clips[mine] = 100 * digit + np.arange(len(mine)) // 3
    clips[0] = -1
    groups = np.where(clips < 0, 10_000, clips)
    moments = Moments(clips, np.zeros(len(clips)))
    return replace(data, split=replace(data.split, moments=moments), groups=groups)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> LabelledSplits:
    store = tmp_path_factory.mktemp("store")
    digits_store(store, {"train": 240, "val": 60, "test": 180}, moments=in_clips)
    found = read_labelled(store)
    return LabelledSplits(*map(of_one_digit, found[:3]), classes=found.classes)


@pytest.fixture(scope="module")
def settled(data: LabelledSplits) -> Settled:
    candidates = {BACKBONE: [raw_pixels], "random_encoder": [mean_grey]}
    return settle(candidates, data.train, data.val, [0.1], 10)


def test_the_embedding_of_a_clip_is_the_mean_of_its_frames(data: LabelledSplits) -> None:
    test = data.test
    features = raw_pixels(test.images(np.arange(len(test))))
    clips = mean_of_frames(features, test)
    assert test.split.moments is not None
    numbers = test.split.moments.clips[test.rows]
    for place, clip in enumerate(sorted(set(numbers.tolist()) - {-1})):
        mean = features[numbers == clip].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(clips.features[place], mean / np.linalg.norm(mean), atol=1e-6)
        assert {clips.labels[place]} == set(test.labels[numbers == clip].tolist())
        assert clips.groups[place] == clip
    assert len(clips.labels) == len(set(numbers.tolist())) - 1


def test_figures_are_of_clips_that_were_not_trained_on(data: LabelledSplits, settled: Settled) -> None:
    found = study_clips(settled, data, SETTINGS)["by_clip"]
    test = mean_of_frames(raw_pixels(data.test.images(np.arange(len(data.test)))), data.test)
    bank = [mean_of_frames(raw_pixels(part.images(np.arange(len(part)))), part) for part in (data.train, data.val)]
    assert found["clips"] == {
        "train": len(bank[0].labels),
        "val": len(bank[1].labels),
        "test": len(test.labels),
    }
    cosines = test.features @ np.concatenate([part.features for part in bank]).T
    nearest, labels = np.argsort(-cosines, axis=1)[:, :3], np.concatenate([part.labels for part in bank])
    votes = np.zeros((len(nearest), 10))
    for row, places in enumerate(nearest):
        np.add.at(votes[row], labels[places], np.exp((cosines[row, places] - 1) / 0.1))
    assert found[KNN]["accuracy"] == pytest.approx((votes.argmax(axis=1) == test.labels).mean())
    assert found["accuracy"] > 0.8 > found["random_encoder"]["accuracy"]
    gain = found["gain_over_random_encoder"]
    assert gain["accuracy"] == pytest.approx(found["accuracy"] - found["random_encoder"]["accuracy"])
    assert gain["accuracy_low"] > 0
    lines = clip_lines({"by_clip": found})
    assert f"on {len(test.labels)} test clips" in lines[0]
    assert lines[1].startswith("  random encoder")
    rows = dict(accuracies({**found, "by_clip": found}))
    assert rows["Nearest neighbours by clip"] == rows["Nearest neighbours on the same embeddings"]


def test_intervals_count_clips_that_belong_together_once(data: LabelledSplits, settled: Settled) -> None:
    alone = study_clips(settled, data, SETTINGS)["by_clip"]
    joined = data._replace(test=replace(data.test, groups=data.test.groups // 4))
    together = study_clips(settled, joined, SETTINGS)["by_clip"]
    assert together["accuracy"] == alone["accuracy"]
    assert together["accuracy_high"] - together["accuracy_low"] > alone["accuracy_high"] - alone["accuracy_low"]


def test_without_clips_nothing_is_said(data: LabelledSplits, settled: Settled, tmp_path: Path) -> None:
    plain = data._replace(test=replace(data.test, split=replace(data.test.split, moments=None)))
    nothing = data._replace(test=data.test.subset(np.arange(0)))
    of_one_class = data._replace(train=data.train.subset(np.flatnonzero(data.train.labels == 3)))
    for other in (plain, nothing, of_one_class):
        assert study_clips(settled, other, SETTINGS) == {}
    assert clip_lines({}) == []
