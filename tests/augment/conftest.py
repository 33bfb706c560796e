"""Real images: two photographs and some digits."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor


@pytest.fixture(scope="session")
def photographs() -> Tensor:
    """Return two photographs as (2, 427, 640, 3) uint8."""
    return torch.from_numpy(np.stack(load_sample_images().images))


@pytest.fixture(scope="session")
def canvases(photographs: Tensor) -> Tensor:
    """Return ten patches of photographs and two digits as (12, 48, 48, 3) uint8."""
    patches = [photographs[i % 2, 30 * i : 30 * i + 48, 40 * i : 40 * i + 48] for i in range(10)]
    digits = torch.from_numpy(load_digits().images[:2] * 15.9).to(torch.uint8)
    large = digits.repeat_interleave(6, 1).repeat_interleave(6, 2)[..., None].expand(-1, -1, -1, 3)
    return torch.stack([*patches, *large])
