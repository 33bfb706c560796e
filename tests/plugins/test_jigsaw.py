"""Jigsaw: its permutations against the paper's algorithm, how tiles are shuffled, and what is refused."""

import itertools
import math

import numpy as np
import pytest
import torch

from ssl_pipeline.testing.material import make_views, small_encoder
from ssl_pipeline.types import UNIFORMS
from ssl_pipeline_plugins.pretext.jigsaw import Jigsaw, distant


def hamming(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    return sum(one != other for one, other in zip(first, second, strict=True))


def by_the_paper(length: int, count: int) -> list[tuple[int, ...]]:
    """Run algorithm 1 on lists: repeatedly take the permutation with the largest sum of distances to those chosen."""
    remaining = sorted(itertools.permutations(range(length)))
    chosen = [remaining.pop(0)]
    while len(chosen) < count:
        distances = [[hamming(candidate, one) for one in chosen] for candidate in remaining]
        best = max((sum(row), min(row)) for row in distances)
        chosen.append(remaining.pop([(sum(row), min(row)) for row in distances].index(best)))
    return chosen


@pytest.mark.parametrize(("length", "count"), [(4, 24), (4, 7), (5, 40)])
def test_the_permutations_are_those_of_the_algorithm_written_out(length: int, count: int):
    assert [tuple(one) for one in distant(length, count).tolist()] == by_the_paper(length, count)


@pytest.mark.parametrize("count", range(2, 25))
def test_of_2_x_2_tiles_no_set_of_that_many_has_a_larger_smallest_distance(count: int):
    """At most n! / (d - 1)! permutations of n are pairwise d apart (Frankl and Deza 1977); ours reach the largest d."""
    found = [tuple(one) for one in distant(4, count).tolist()]
    smallest = min(hamming(first, second) for first, second in itertools.combinations(found, 2))
    assert smallest == max(d for d in (2, 3, 4) if math.factorial(4) // math.factorial(d - 1) >= count)


def test_of_3_x_3_tiles_all_are_distinct_far_apart_and_the_same_each_time():
    found = distant(9, 64)
    assert found[0].tolist() == list(range(9))
    assert (np.sort(found, axis=1) == np.arange(9)).all()
    distances = (found[:, None] != found[None]).sum(axis=2)[~np.eye(64, dtype=bool)]
    assert distances.min() >= 4  # which also means that they are distinct
    assert distances.mean() > 8.1  # two random ones have a mean distance of 8
    np.testing.assert_array_equal(distant.__wrapped__(9, 64), found)


def test_tiles_lie_in_the_order_of_the_permutation_that_is_asked_for():
    task = Jigsaw(small_encoder(0), 24, tiles=3, permutations=8, hidden_dim=16).eval()
    views = make_views(task, 6, 24)
    uniforms = views[UNIFORMS]
    uniforms[:, 0] = (torch.tensor([0, 1, 2, 3, 6, 7]) + 0.5) / 8
    encoded = task(views)
    assert encoded["answers"].tolist() == [0, 1, 2, 3, 6, 7]
    tiles = task.tiling.encode(task.encoder, views["plain"][:, 0], uniforms[:, 1:])
    for sample, answer in enumerate(encoded["answers"].tolist()):
        wanted = torch.cat([tiles[sample, place] for place in distant(9, 8)[answer].tolist()])
        torch.testing.assert_close(encoded["embeddings"][sample], wanted)


def test_what_is_predicted_is_what_is_learned_from_tiles_in_the_middle_of_their_cells():
    task = Jigsaw(small_encoder(0), 18, tiles=2, permutations=4, hidden_dim=16).eval()
    views = make_views(task, 5, 18)
    assert task.tiling.slack == 1
    views[UNIFORMS][:] = 0.0  # the first permutation, which is the identity; tiles at the top left of their slack
    views[UNIFORMS][:, 1] = 0.5  # green
    expected = task.head(task(views)["embeddings"]).softmax(dim=1)
    torch.testing.assert_close(task.predict(views["plain"][:, 0]), expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tiles": 4}, "tiles must be 2 or 3, got 4"),
        ({"tiles": 2}, "permutations must lie in 2 to 24 for tiles: 2, got 64"),
        ({"permutations": 1}, r"permutations must lie in 2 to 1000 for tiles: 3, got 1"),
        ({"hidden_dim": 0}, "hidden_dim must be at least 1, got 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, int], words: str):
    with pytest.raises(ValueError, match=words):
        Jigsaw(small_encoder(0), 32, **options)
