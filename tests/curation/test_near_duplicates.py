"""What is taken for a near-duplicate: planted copies, and hardly any different images."""

import numpy as np
import numpy.typing as npt
import pytest

from ssl_pipeline.curation.near_duplicates import (
    NearDuplicates,
    find_near_duplicates,
    intrinsic_dimension,
    least_distance,
)
from ssl_pipeline.curation.neighbourhood import look_around
from ssl_pipeline.neighbours import unit

Features = npt.NDArray[np.float32]

COUNT = 600


def scattered(seed: int, dims: int = 6, count: int = COUNT) -> Features:
    """Return different images: points on a sphere in 32 dimensions, in a dense and a sparse cloud.

    `dims` is the dimension of the sphere.
    """
    drawn = np.random.default_rng(seed).normal(size=(count, dims + 1))
    drawn[: count // 2] = np.array([8.0] + [0.0] * dims) + drawn[: count // 2]
    basis, _ = np.linalg.qr(np.random.default_rng(100).normal(size=(32, dims + 1)))
    return unit((unit(drawn.astype(np.float32)) @ basis.T).astype(np.float32))


def moved(images: Features, by: float) -> Features:
    noise = np.random.default_rng(9).normal(size=images.shape)
    return unit((images + by * noise / np.linalg.norm(noise, axis=1, keepdims=True)).astype(np.float32))


def found(images: Features, groups: npt.NDArray[np.int64] | None = None) -> NearDuplicates:
    alone = np.arange(len(images))
    return find_near_duplicates(look_around(images, alone if groups is None else groups), alone)


def test_of_different_images_about_one_pair_is_taken_for_a_copy():
    counts = [len(found(scattered(seed)).pairs) for seed in range(20)]
    assert np.mean(counts) <= 2  # each of two tests expects one false pair at most


def test_copies_are_found_and_grouped_wherever_they_lie():
    images = scattered(0)
    places = np.arange(0, COUNT, 60)  # in the dense and in the sparse cloud
    several = found(np.concatenate([images, moved(images[places], 0.003)]))
    for copy, place in enumerate(places, COUNT):
        assert several.groups[copy] == several.groups[place] >= 0
    assert len(several.pairs) <= len(places) + 2
    assert [pair.similarity for pair in several.pairs] == sorted((p.similarity for p in several.pairs), reverse=True)


def test_a_copy_in_thin_country_is_found_by_the_gap_behind_it():
    images = scattered(0)
    places = np.arange(COUNT // 2, COUNT, 30)  # in the sparse cloud
    several = found(np.concatenate([images, moved(images[places], 0.03)]))
    assert several.distance < 0.02  # too small for copies at a distance of 0.03
    hits = [several.groups[copy] == several.groups[place] >= 0 for copy, place in enumerate(places, COUNT)]
    assert np.mean(hits) > 0.7


def test_three_copies_leave_no_gap_and_are_found_all_the_same():
    images = scattered(0)
    copies = moved(np.repeat(images[:5], 2, axis=0), 0.003)
    groups = found(np.concatenate([images, copies])).groups
    for number in range(5):
        assert len({groups[number], *groups[COUNT + 2 * number : COUNT + 2 * number + 2]}) == 1
        assert groups[number] >= 0


def test_a_collection_in_which_each_image_is_there_twice():
    images = scattered(0)
    doubled = found(np.concatenate([images, moved(images, 0.002)]))
    hits = np.mean([doubled.groups[n] == doubled.groups[COUNT + n] >= 0 for n in range(COUNT)])
    assert hits > 0.95


def test_frames_of_one_track_are_none_and_copies_across_tracks_are():
    tracks = np.repeat(scattered(0, count=100), 10, axis=0)
    frames = moved(tracks, 0.02)
    groups = np.arange(len(frames)) // 10
    assert len(found(frames, groups).pairs) <= 2
    copied = np.concatenate([frames, moved(frames[:1], 0.0001)])
    pairs = found(copied, np.append(groups, 1000)).pairs
    assert any((pair.first, pair.second) == (0, len(frames)) for pair in pairs)


def test_what_ingest_knows_comes_in_addition():
    images = scattered(0)
    known = np.arange(COUNT)
    known[7] = known[3]
    groups = find_near_duplicates(look_around(images, np.arange(COUNT)), known).groups
    assert groups[7] == groups[3] >= 0


@pytest.mark.parametrize("count", [2, 3, 29])
def test_of_few_images_nothing_is_said(count: int):
    images = scattered(0, count=30)[:count]
    images[1] = images[0]
    nothing = found(images)
    assert nothing.pairs == []
    assert (nothing.groups == -1).all()


@pytest.mark.parametrize(("count", "known"), [(12, False), (20, False), (29, False), (30, True)])
def test_of_few_images_it_is_not_known_how_near_different_ones_come(count: int, known: bool):
    images = unit(np.random.default_rng(0).normal(size=(count, 64)).astype(np.float32))
    assert (least_distance(look_around(images, np.arange(count))) > 0) == known


@pytest.mark.parametrize("images", [30, 200])
def test_images_that_are_all_equal_are_all_copies(images: int):
    equal = found(np.tile(scattered(0)[:1], (images, 1)))
    assert np.isfinite(equal.distance)
    assert equal.dimension >= 1


@pytest.mark.parametrize("dims", [2, 5, 9])
def test_the_dimension_is_that_in_which_the_images_lie(dims: int):
    drawn = np.random.default_rng(0).normal(size=(4000, dims + 1)).astype(np.float32)
    around = look_around(unit(drawn), np.arange(4000))
    assert intrinsic_dimension(around.distances) == pytest.approx(dims, rel=0.15)
