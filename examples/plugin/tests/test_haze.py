"""The operation: what the pipeline requires of every operation, and what is special about this one."""

import pytest
import torch
from example_plugin.haze import Haze

from ssl_pipeline.testing import check_operation


def test_the_operation_is_as_promised():
    check_operation(Haze, strength=0.3)


def test_white_stays_white_and_black_becomes_lighter():
    images = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
    assert Haze(strength=0.5)(images, torch.full((2, 1), 0.5)).flatten().tolist() == [0.25, 1.0]


def test_a_strength_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"strength must lie in \(0, 1\], got 0\.0"):
        Haze(strength=0.0)
