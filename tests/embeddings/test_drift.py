"""On images of the same kind, alarms are as rare as stated; others raise alarms; and what the command says of both."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageFilter
from scipy.spatial.distance import cdist
from scipy.stats import binom
from sklearn.datasets import load_sample_images

from ssl_pipeline.bundle.drift_reference import one_of_each
from ssl_pipeline.embeddings import drift as module
from ssl_pipeline.embeddings.drift import Reference, judge, reference_of
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.runtime import Backbone
from ssl_pipeline_stages.drift import drift
from tests.embeddings.graphs import write_graph
from tests.factories import digit_images

Call = Callable[..., Result]


class Pile(NamedTuple):
    """A bundle, and digits in none of its samples; all are shuffled, because the data set is ordered by writers."""

    bundle: Path
    backbone: Backbone
    reference: Reference
    held_out: np.ndarray


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory) -> Pile:
    folder = tmp_path_factory.mktemp("bundle")
    backbone = Backbone(write_graph(folder / "backbone.onnx"), threads=1)
    digits = digit_images()[np.random.default_rng(0).permutation(1797)]
    about = {"model_sha256": backbone.sha256, "canvas": 8, "resize": "squash", "background": [0, 0, 0]}
    reference = reference_of(backbone(digits[:500]), backbone(digits[500:900]), about)
    assert reference is not None
    reference.write(folder / "drift.npz")
    return Pile(folder, backbone, Reference.read(folder / "drift.npz"), digits[900:])


def changed(images: np.ndarray, how: str) -> np.ndarray:
    if how == "darker":
        return np.maximum(images, 90) - 90
    if how == "blurred":
        return np.stack([np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1))) for image in images])
    china = load_sample_images().images[0]
    return np.stack([china[row : row + 8, n : n + 8] for n, row in enumerate(range(0, 4 * len(images), 4))])


def test_alarms_on_images_of_the_same_kind_are_as_rare_as_stated(pile: Pile):
    chance, embeddings = np.random.default_rng(1), pile.backbone(pile.held_out)
    draws = [chance.choice(len(embeddings), 40, replace=False) for _ in range(100)]
    found = [judge(pile.reference, embeddings[draw], rate=0.05) for draw in draws]
    alarms = sum(verdict.alarm for verdict in found)
    assert alarms <= binom.ppf(0.995, 100, 0.05)
    assert np.mean([verdict.p_value for verdict in found]) == pytest.approx(0.5, abs=0.15)  # no rarer, for power
    assert all(verdict.alarm == (verdict.score > 1) for verdict in found)


def test_groups_count_once_and_alarms_stay_as_rare_as_stated():
    chance = np.random.default_rng(3)

    def images(groups: int, each: int) -> np.ndarray:
        centres = chance.normal(size=(groups, 1, 8))
        return (centres + 0.1 * chance.normal(size=(groups, each, 8))).reshape(-1, 8).astype(np.float32)

    groups, alarms = np.repeat(np.arange(80), 5), []
    for _ in range(30):
        training, validation = images(300, 1), images(80, 5)
        drawn = one_of_each(groups)
        assert np.array_equal(groups[drawn], np.arange(80))
        reference = reference_of(training, validation[drawn], {})
        assert reference is not None
        alarms.append(judge(reference, images(50, 1), rate=0.05).alarm)
    assert sum(alarms) <= binom.ppf(0.995, len(alarms), 0.05)


@pytest.mark.parametrize("how", ["darker", "blurred", "foreign"])
def test_other_images_raise_an_alarm(pile: Pile, how: str):
    verdict = judge(pile.reference, pile.backbone(changed(pile.held_out[:60], how)))
    assert (verdict.alarm, verdict.p_value) == (True, 0.001)


def test_the_images_that_drive_it_come_first(pile: Pile):
    images = np.concatenate([pile.held_out[:60], changed(pile.held_out[:30], "foreign")])
    verdict = judge(pile.reference, pile.backbone(images))
    assert verdict.alarm
    assert np.mean(verdict.drives.argsort()[::-1][:30] >= 60) > 0.9
    assert verdict.rarer_than[60:].mean() > 0.9 > 0.7 > verdict.rarer_than[:60].mean()


def test_it_is_the_energy_distance(pile: Pile):
    batch, reference = pile.reference.whitened(pile.backbone(pile.held_out[:70])), pile.reference.rows
    found, permuted = module._energies(batch, reference, np.random.default_rng(0))
    pooled = np.concatenate([batch, reference])
    assert found == pytest.approx(
        2 * cdist(batch, reference).mean() - cdist(batch, batch).mean() - cdist(reference, reference).mean(), rel=1e-4
    )
    assert permuted.mean() == pytest.approx(cdist(pooled, pooled).mean() * (1 / 70 + 1 / 400), rel=0.1)


def test_large_batches_are_judged_by_a_part(pile: Pile, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST", 50)
    verdict = judge(pile.reference, pile.backbone(pile.held_out[:300]))
    assert (verdict.compared, len(verdict.drives), verdict.alarm) == (50, 300, False)


def test_what_cannot_be_judged_is_told(pile: Pile):
    with pytest.raises(PipelineError, match="9 different images are too few for a test: give at least 10"):
        judge(pile.reference, pile.backbone(pile.held_out[:9]))
    with pytest.raises(PipelineError, match="not finite"):
        judge(pile.reference, np.full((20, 48), np.nan, np.float32))
    assert reference_of(np.ones((60, 3), np.float32), np.ones((49, 3), np.float32), {}) is None


@pytest.fixture
def call(pile: Pile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return a function that calls the command on a folder `images` with the given digits."""
    monkeypatch.chdir(tmp_path)

    def call(images: np.ndarray, *words: Any, bundle: Path = pile.bundle) -> Result:
        Path("images").mkdir(exist_ok=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(f"images/{number:03}.png")
        return CliRunner().invoke(drift, ["images", "--bundle", str(bundle), *map(str, words)], catch_exceptions=False)

    return call


def test_the_exit_status_says_whether_there_is_drift(pile: Pile, call: Call):
    same = call(pile.held_out[:40])
    assert (same.exit_code, same.stdout.startswith("no drift: score 0.")) == (0, True)
    done = call(changed(pile.held_out[:40], "foreign"), "--csv", "drift.csv")
    assert (done.exit_code, done.stdout.count("\n")) == (3, 7)
    assert done.stdout.startswith("DRIFT: score ")
    assert "p = 0.001, 40 images against 400 validation images" in done.stdout
    with open("drift.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    assert [float(row["drives"]) for row in rows] == sorted((float(row["drives"]) for row in rows), reverse=True)
    assert rows[0]["path"] in done.stdout


def test_copies_and_files_that_are_no_images_do_not_count(pile: Pile, call: Call):
    Path("images").mkdir()
    Path("images/broken.jpg").write_bytes(b"no image")
    done = call(np.repeat(pile.held_out[:3], 5, axis=0))
    assert (done.exit_code, done.stdout) == (1, "")
    assert "left out 1 unusable file, such as images/broken.jpg (not an image" in done.stderr.replace("\n", "")
    assert "left out 12 exact copies" in done.stderr
    assert "error: drift: 3 different images are too few" in done.stderr


def test_a_bundle_without_a_reference_or_with_another_s_is_told(pile: Pile, call: Call, tmp_path: Path):
    write_graph(tmp_path / "backbone.onnx", note="another model")
    done = call(pile.held_out[:1], bundle=tmp_path)
    assert (done.exit_code, "drift.npz does not exist: name a bundle that contains one" in done.stderr) == (1, True)
    (tmp_path / "drift.npz").write_bytes((pile.bundle / "drift.npz").read_bytes())
    assert "does not belong to" in call(pile.held_out[:1], bundle=tmp_path).stderr
    (tmp_path / "drift.npz").write_bytes(b"PK\3\4 no array")
    assert "is damaged" in call(pile.held_out[:1], bundle=tmp_path).stderr
