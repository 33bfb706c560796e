"""Tasks that ask questions learn to answer them on real digits, and then on digits that they have not seen."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.testing.material import small_encoder
from ssl_pipeline.types import Encoder, PretextTask
from ssl_pipeline_plugins.pretext.flip import Flip
from ssl_pipeline_plugins.pretext.jigsaw import Jigsaw
from ssl_pipeline_plugins.pretext.relative_patch import RelativePatch
from tests.plugins.shortcuts import accuracy, deviation

DIGITS = torch.tensor(load_digits().images, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1) / 16


def some(first: int, last: int, size: int, count: int, generator: torch.Generator) -> Tensor:
    """Return a range of digits as views (N, 3, S, S)."""
    chosen = torch.randint(first, last, (count,), generator=generator)
    return F.interpolate(DIGITS[chosen], size=size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize(
    ("make", "answers"),
    [
        (Flip, 4),
        (lambda encoder: Jigsaw(encoder, 16, tiles=2, permutations=24), 24),
        (lambda encoder: RelativePatch(encoder, 16), 8),
    ],
    ids=["flip", "jigsaw", "relative_patch"],
)
def test_a_task_learns_what_holds_of_other_digits(make: Callable[[Encoder], PretextTask], answers: int):
    torch.manual_seed(0)
    found = accuracy(make(small_encoder(0)), partial(some, 0, 1500, 16), 150, partial(some, 1500, 1797, 16))
    assert found > 2 / answers + 4 * deviation(answers, 297)
