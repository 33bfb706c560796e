"""Several processes: for all recipes, the gradients of one; whole runs are in tests/stages/test_pretrain_together.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssl_pipeline.training.together import ALONE, Ranks
from tests.training import ranks
from tests.training.test_micro_batches import IN_FLOAT32, REGISTRY

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """What three ranks have found of all recipes, by torchrun."""
    path = tmp_path_factory.mktemp("ranks") / "found.pt"
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3", "-m", "tests.training.ranks"]
    surroundings = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *launch, path], cwd=ROOT, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.load(path)


@pytest.mark.parametrize("recipe", REGISTRY.names("recipe"))
def test_the_gradient_is_that_of_one_process_and_no_more_is_sent_than_must_be(recipe, apart):
    loss, whole = ranks.of_a_recipe(recipe, ALONE)
    same_loss, shared = apart["found"][recipe]
    bound = 2e-6 if recipe in IN_FLOAT32 else 1e-8  # a third of what denoise has in float32 is not exact
    assert same_loss == pytest.approx(loss, rel=bound)
    assert whole.keys() == shared.keys()
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    assert max(float((whole[name] - shared[name]).abs().max()) for name in whole) <= bound * largest
    weights = sum(gradient.nbytes for gradient in whole.values())
    share = 2 * (apart["ranks"] - 1) / apart["ranks"]
    assert share * weights < apart["sent"][recipe]  # gradients, and embeddings


def test_shares_are_all_of_a_batch_and_as_equal_as_can_be():
    parts = [Ranks(number, 3).share(8) for number in range(3)]
    assert [list(range(8))[part] for part in parts] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    assert Ranks(0, 3).rows(8) == [2, 3, 3]
    assert ALONE.share(8) == slice(0, 8)
