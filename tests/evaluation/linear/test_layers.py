"""Which layer suits a probe best: layers are compared as they would ship, and luck is not taken for a finding."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_pipeline.artifacts.assembly import build_encoder, cut
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.data.labelled import Labelled
from ssl_pipeline.data.store import open_split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.deployment.from_pixels import FromPixels, embedding
from ssl_pipeline.evaluation.features import embedder
from ssl_pipeline.evaluation.linear import layers
from ssl_pipeline.evaluation.linear.layers import EveryLayer, study_layers
from ssl_pipeline.evaluation.linear_probe import fit
from ssl_pipeline.loading import load_registry
from ssl_pipeline.types import Backbone, Encoder
from tests.deployment.conftest import describe, settle
from tests.factories import BACKBONE, MEAN, STD, digit_images

STRENGTHS = [0.01, 1.0]


class Forgetful(Backbone):
    """Layer 1 contains all pixels; layer 2 and the embedding contain only the first one."""

    embedding_dim = 2
    map_channels = (3, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images)[-1].mean(dim=(2, 3))

    def maps(self, images: Tensor) -> list[Tensor]:
        return [images, images[:, :2, :1, :1]]


def part(store: Path, name: str, images: np.ndarray, labels: np.ndarray) -> Labelled:
    write_split(store / name, np.arange(len(images), dtype=np.uint64), [images], images.shape[1])
    return Labelled(open_split(store, name), np.arange(len(images)), labels, np.arange(len(images)))


def bright_or_dark(store: Path, name: str, count: int) -> Labelled:
    """Write dark images of class 0 and bright ones of class 1; their first pixel has a random value."""
    random = np.random.default_rng(count)
    labels = random.integers(0, 2, count)
    images = np.empty((count, 8, 8, 3), np.uint8)
    images[:] = np.where(labels, 200, 50)[:, None, None, None]
    images[:, 0, 0] = random.integers(0, 256, (count, 3))
    return part(store, name, images, labels)


def judge(encoder: Encoder, card: ModelCard, exported: int | None, *rest: Any) -> layers.LayerReport:
    """Run study_layers as if an exported file computed what torch does, with embeddings of unit length."""
    embed = embedder(FromPixels(card, embedding(encoder.at(exported), True)))
    return study_layers(encoder, card, embed, exported, True, *rest)


def forgetful() -> Encoder:
    return Encoder(Forgetful(), MEAN, STD).eval()


def test_the_layer_that_has_the_label_in_it_is_found(tmp_path: Path):
    train, val = bright_or_dark(tmp_path, "train", 80), bright_or_dark(tmp_path, "val", 50)
    card = describe(forgetful(), size=8)
    figures, lines = judge(forgetful(), card, None, train, val, STRENGTHS, 2)
    assert [(one["layer"], one["dim"]) for one in figures["layers"]] == [(1, 3), (2, 2), ("last", 2)]
    first, second, last = (one["validation_accuracy"] for one in figures["layers"])
    assert first == 1.0
    assert second == last < 0.7
    assert figures["best_layer"] == 1
    assert lines == [
        f"linear_eval: layer 1 of 2 is the best on validation (100.0%; the exported one, last, {100 * last:.1f}%); "
        "to ship it, set export.layer: 1"
    ]
    same, lines = judge(forgetful(), card, 1, train, val, STRENGTHS, 2)
    assert same == figures
    assert lines == ["linear_eval: the exported layer, layer 1 of 2, is as good as any on validation (100.0%)"]


@pytest.mark.parametrize("l2_normalize", [True, False])
def test_features_are_those_that_an_export_of_the_layer_gives(l2_normalize: bool):
    encoder = settle(build_encoder(load_registry(), BACKBONE, MEAN, STD, 0, 16), 16)
    card = describe(encoder)  # 16 px with borders, so images are resized
    images = torch.from_numpy(digit_images()[:20, :, :5].copy())
    network = EveryLayer(encoder, l2_normalize)
    assert (network.layers, network.dims) == ([1, 2, 3, None], [4, 8, 16, 16])
    with torch.inference_mode():
        found = FromPixels(card, network)(images).split(network.dims, dim=1)
        for layer, features in zip(network.layers, found, strict=True):
            part, _ = cut(encoder, card, layer)
            assert torch.equal(features, FromPixels(card, embedding(part, l2_normalize))(images))
        for known, passes in ((None, 1), (2, 2)):  # if the last layer ships, one pass suffices
            some, stems = EveryLayer(encoder, l2_normalize, {known}), []
            with encoder.backbone.stem.register_forward_hook(lambda *_, stems=stems: stems.append(1)):
                others = FromPixels(card, some)(images).split(some.dims, dim=1)
            assert len(stems) == passes
            expected = {layer: part for layer, part in zip(network.layers, found, strict=True) if layer != known}
            assert some.layers == list(expected)
            assert all(map(torch.equal, others, expected.values()))


def test_an_accuracy_is_that_of_the_probe_whose_strength_does_best_on_validation(tmp_path: Path):
    labels = np.arange(300) % 3  # without meaning: probes differ by luck alone
    train = part(tmp_path, "train", digit_images(200), labels[:200])
    val = part(tmp_path, "val", digit_images()[200:300], labels[200:])
    encoder = settle(build_encoder(load_registry(), BACKBONE, MEAN, STD, 0, 8), 8)
    card, path = describe(encoder, size=8), [1e-3, 0.1, 10.0]
    figures, _ = judge(encoder, card, None, train, val, path, 3)
    with torch.inference_mode():
        module = FromPixels(card, embedding(encoder.at(2), True))
        features = module(torch.from_numpy(digit_images(300))).numpy()
    probe = fit(features[:200], labels[:200], path, features[200:], labels[200:], class_count=3)
    assert figures["layers"][1]["validation_accuracy"] == pytest.approx(probe.validation[probe.strength], abs=0.011)


def test_of_many_images_some_are_taken_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train, val = bright_or_dark(tmp_path, "train", 80), bright_or_dark(tmp_path, "val", 50)
    learned = []

    def spy(features, labels, strengths, held_out, val_labels, *, class_count):
        learned.append((labels.tolist(), val_labels.tolist()))
        return fit(features, labels, strengths, held_out, val_labels, class_count=class_count)

    monkeypatch.setattr(layers, "fit", spy)
    monkeypatch.setattr(layers, "_MAX_IMAGES_PER_SPLIT", 40)
    judge(forgetful(), describe(forgetful(), size=8), None, train, val, STRENGTHS, 2)
    rows = [np.linspace(0, last, 40).round().astype(int) for last in (79, 49)]
    assert learned == [(train.labels[rows[0]].tolist(), val.labels[rows[1]].tolist())] * 3


def test_nothing_is_said_where_nothing_can_be_compared(tmp_path: Path):
    train, val = bright_or_dark(tmp_path, "train", 20), bright_or_dark(tmp_path, "val", 10)
    nobody, dark = np.arange(0), np.flatnonzero(train.labels == 0)
    card, encoder = describe(forgetful(), size=8), forgetful()
    for learned, judged in ((train, val.subset(nobody)), (train.subset(nobody), val), (train.subset(dark), val)):
        assert judge(encoder, card, None, learned, judged, STRENGTHS, 2) == ({}, [])
    encoder.backbone.map_channels = ()
    assert judge(encoder, card, None, train, val, STRENGTHS, 2) == ({}, [])


@pytest.mark.parametrize(("alone", "told"), [(5, False), (6, False), (7, True), (8, True)])
def test_what_is_luck_is_not_taken_for_a_better_layer(alone: int, told: bool):
    """Three of four embeddings are compared with the one that ships, and each may look better by luck."""
    shipped = np.arange(100) < 60
    better = np.arange(100) < 60 + alone  # p = 2 / 2**alone: 0.063, 0.031, 0.016, 0.008; the bound is 0.05 / 3
    right = {1: shipped, 2: better, 3: shipped, None: shipped}
    figures, (line,) = layers.compare_layers(right, np.arange(100), {1: 4, 2: 8, 3: 16, None: 16}, None)
    assert figures["best_layer"] == 2
    assert ("export.layer: 2" in line) == told
    share = f"{60 + alone}.0%"
    if told:
        assert line.startswith(f"linear_eval: layer 2 of 3 is the best on validation ({share}; the exported one, last,")
    else:
        assert line == (
            "linear_eval: the exported layer, last, is as good as any on validation (60.0%; layer 2 of 3, "
            f"{share}, is not better by more than noise)"
        )


def test_one_track_that_a_layer_has_right_is_no_finding():
    """Eight more correct images would be a finding, but these are eight frames of the same thing."""
    right = {1: np.arange(100) < 68, None: np.arange(100) < 60}
    tracks = np.arange(100) // 8
    tracks[60:68] = 99
    for groups, told in ((np.arange(100), True), (tracks, False)):
        _, (line,) = layers.compare_layers(right, groups, {1: 4, None: 8}, None)
        assert ("export.layer: 1" in line) == told


def test_of_layers_that_do_equally_well_the_one_that_ships_is_the_best_and_then_the_last():
    half, most = np.arange(20) < 10, np.arange(20) < 19
    dims = {1: 4, 2: 8, None: 8}
    assert layers.compare_layers({1: half, 2: half, None: half}, np.arange(20), dims, 1)[0]["best_layer"] == 1
    figures, (line,) = layers.compare_layers({1: half, 2: most, None: most}, np.arange(20), dims, 1)
    assert figures["best_layer"] == "last"
    assert line.endswith(
        "last is the best on validation (95.0%; the exported one, layer 1 of 2, 50.0%); "
        "to ship it, set export.layer: last"
    )


def test_a_probe_that_was_fitted_elsewhere_is_not_fitted_again_unless_images_are_left_out(tmp_path, monkeypatch):
    train, val = bright_or_dark(tmp_path, "train", 40), bright_or_dark(tmp_path, "val", 30)
    card, dims = describe(forgetful(), size=8), []

    def spy(features, *others, class_count):
        dims.append(features.shape[1])
        return fit(features, *others, class_count=class_count)

    monkeypatch.setattr(layers, "fit", spy)
    given = card, 1, train, val, STRENGTHS, 2
    usual = judge(forgetful(), *given)
    features = embedder(FromPixels(card, embedding(forgetful().at(1), True)))
    learned, judged = (features(one.images(np.arange(len(one)))) for one in (train, val))
    fitted = fit(learned, train.labels, STRENGTHS, judged, val.labels, class_count=2)
    assert judge(forgetful(), *given, fitted) == usual
    assert dims == [3, 2, 2, 2, 2]
    monkeypatch.setattr(layers, "_MAX_IMAGES_PER_SPLIT", 39)
    judge(forgetful(), *given, fitted)
    assert dims[5:] == [3, 2, 2]
