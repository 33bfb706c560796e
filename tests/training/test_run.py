"""A single step of a run begins with the random numbers that torch draws for its seed."""

import pytest
import torch

from ssl_pipeline.training.run import seed_torch


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])  # the seed may be any 64-bit hash
def test_a_seed_gives_the_bits_that_torch_gives(seed, cpu):
    drawn = []
    with torch.random.fork_rng(devices=[]):
        for seeded in (torch.manual_seed, lambda seed: seed_torch(seed, cpu)):
            torch.rand(3)
            seeded(seed)
            drawn.append([torch.nn.functional.dropout(torch.ones(64), 0.5), torch.randn(5), torch.randperm(9)])
    assert all(torch.equal(before, now) for before, now in zip(*drawn, strict=True))
