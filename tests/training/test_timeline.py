"""Neighbours in time and paths of frames, against loops over all pairs of images."""

import numpy as np
import pytest

from ssl_pipeline.data.moments import Moment, Moments
from ssl_pipeline.testing.material import make_ids
from ssl_pipeline.training.timeline import SLACK, FramePaths, Timeline

WITHIN = 1.0
NTSC = 1001 / 30000  # seconds per frame


@pytest.fixture(scope="module")
def moments() -> Moments:
    """60 images in random order: frames of five clips at uneven or equal times, and images without a time."""
    random = np.random.default_rng(0)
    rows: list[Moment | None] = [
        Moment(f"clip {number % 5}", float(random.uniform(0, 8)) if number % 7 else 3.0) for number in range(54)
    ]
    rows += [None] * 4 + [Moment("alone", 2.0), Moment("clip 0", 1000.0)]
    return Moments.of(rows[number] for number in random.permutation(60))


def apart(moments: Moments) -> np.ndarray:
    """Return signed times (n, n) from one image to another, in s; NaN if they have no clip in common."""
    same = (moments.clips[:, None] == moments.clips) & (moments.clips >= 0)[:, None]
    return np.where(same, moments.seconds[None] - moments.seconds[:, None], np.nan)


def test_every_other_frame_within_reach_is_drawn_and_nothing_else(moments: Moments):
    line, count, times = Timeline(moments, WITHIN), len(moments.clips), apart(moments)
    drawn = [line.neighbours(np.arange(count), WITHIN, np.full(count, share)) for share in np.linspace(0, 0.9999, 400)]
    for image in range(count):
        others = set(np.flatnonzero(np.abs(times[image]) <= WITHIN * (1 + SLACK))) - {image}
        assert {int(each[image]) for each in drawn} == (others or {image})


def test_two_are_near_each_other_by_their_times_alone(moments: Moments):
    ids = make_ids(60, 0)
    near = Timeline(moments, WITHIN).near(ids.numpy().view(np.uint64), WITHIN)
    places = near.places_of(ids)
    found = ((places[:, None] - places).abs() <= near.within).numpy()
    expected = (np.abs(apart(moments)) <= WITHIN * (1 + SLACK)) | np.eye(60, dtype=bool)
    assert (found == expected).all()
    twice = (found.astype(int) @ found.astype(int)) > 0
    assert (twice & ~found).any()  # being near is not transitive, so that no cluster number per image could express it


def test_a_distance_of_just_the_bound_is_near():
    line = Timeline(Moments.of(Moment("film", number / 10) for number in range(40)), 2.0)
    near = line.near(np.arange(40, dtype=np.uint64), 2.0)
    assert (np.abs(near.places.numpy() - near.places[0].item()) <= near.within).sum() == 21


def test_one_frame_a_second_of_a_film_of_29_97_is_a_second_from_the_next():
    moments = Moments.of(Moment(film, round(30 * number * NTSC, 3)) for film in "ab" for number in range(9))
    line, ids = Timeline(moments, 1.0), np.arange(18, dtype=np.uint64)
    assert FramePaths(line, 3, 0.2, 1.0).usable.tolist() == list(range(18))
    drawn = line.neighbours(np.arange(18), 1.0, np.zeros(18, np.float32))
    assert drawn.tolist() == [1, *range(8), 10, *range(9, 17)]  # the frame before, or after for the first one
    near = line.near(ids, 1.0)
    assert ((near.places[drawn] - near.places).abs() <= near.within).all()
    assert not len(FramePaths(line, 3, 0.2, 0.99).usable)


def between(step: float) -> bool:
    return 0.5 * (1 - SLACK) <= step <= 1.5 * (1 + SLACK)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_paths_are_of_frames_in_order_at_the_distances_asked_for_and_of_any_such(moments: Moments, count: int):
    paths, times = FramePaths(Timeline(moments, 1.5), count, 0.5, 1.5), apart(moments)
    chains = [[image] for image in range(60)]
    for _ in range(count - 1):
        chains = [[*chain, image] for chain in chains for image in range(60) if between(times[chain[-1], image])]
    assert paths.usable.tolist() == sorted({image for chain in chains for image in chain})
    random, found = np.random.default_rng(1), set()
    for _ in range(4000 if count == 3 else 20):
        drawn = paths.drawn(paths.usable, random.random((len(paths.usable), count), dtype=np.float32))
        assert (drawn == paths.usable[:, None]).any(axis=1).all()
        found |= set(map(tuple, drawn.tolist()))
    assert found <= set(map(tuple, chains))
    if count == 3:
        assert found == set(map(tuple, chains))


def test_what_is_drawn_for_an_image_does_not_depend_on_the_batch(moments: Moments):
    line = Timeline(moments, 1.5)
    paths, numbers = FramePaths(line, 3, 0.5, 1.5), np.random.default_rng(2).random((60, 3), dtype=np.float32)
    usable, some = paths.usable, paths.usable[::3]
    assert (paths.drawn(some, numbers[some]) == paths.drawn(usable, numbers[usable])[::3]).all()
    alone = np.concatenate([line.neighbours(np.array([n]), WITHIN, numbers[n : n + 1, 0]) for n in range(60)])
    assert (line.neighbours(np.arange(60), WITHIN, numbers[:, 0]) == alone).all()
