"""Several processes have the gradients of one; `benchmarks/ranks.py` tabulates them. tests/stages/ has whole runs."""

import pytest
import torch

from benchmarks.gradients import IN_FLOAT32, REGISTRY, difference
from benchmarks.ranks import by_ranks, of_a_recipe
from ssl_pipeline.training.together import ALONE, Ranks

STEPS = [(recipe, False) for recipe in REGISTRY.names("recipe")] + [("dino", True), ("byol", True), ("rotation", True)]
"""Recipes, and whether the encoder has batch norms."""
BOUNDS = dict.fromkeys(IN_FLOAT32, 2e-6) | dict.fromkeys(("denoise", "mae"), 1e-8)
"""Bounds for gradients that are computed partly in float32; for denoise and mae, one third is not exact there."""
RANKS = 3


@pytest.fixture(scope="module")
def apart():
    """The findings of each of three ranks."""
    return dict(zip(STEPS, by_ranks(RANKS, STEPS), strict=True))


@pytest.mark.parametrize(("recipe", "normed"), STEPS)
def test_gradients_and_running_statistics_are_those_of_one_process(recipe, normed, apart):
    whole = of_a_recipe(recipe, ALONE, normed)
    for own in apart[recipe, normed]:
        assert own.loss == pytest.approx(whole.loss, rel=1e-12)
        assert difference(own.gradients, whole.gradients) <= BOUNDS.get(recipe, 1e-12)
        assert own.buffers.keys() == whole.buffers.keys()
        for name, value in whole.buffers.items():
            torch.testing.assert_close(own.buffers[name], value, rtol=1e-12, atol=1e-12)
    assert any("running_var" in name for name in whole.buffers) or not normed


@pytest.mark.parametrize("recipe", [recipe for recipe, normed in STEPS if not normed])
def test_no_more_is_sent_than_must_be(recipe, apart):
    for own in apart[recipe, False]:
        weights = sum(gradient.nbytes for gradient in own.gradients.values())
        share = 2 * (RANKS - 1) / RANKS
        assert share * weights < own.sent <= 1.05 * share * own.least  # embeddings are sent too


def test_shares_are_all_of_a_batch_and_as_equal_as_can_be():
    parts = [Ranks(number, 3).share(8) for number in range(3)]
    assert [list(range(8))[part] for part in parts] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    assert Ranks(0, 3).rows(8) == [2, 3, 3]
    assert ALONE.share(8) == slice(0, 8)
