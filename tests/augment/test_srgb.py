"""sRGB against values published elsewhere, and luminance as a mixture of light, not of encoded values."""

import pytest
import torch

from ssl_pipeline.augment.srgb import luminance, to_linear, to_srgb


@pytest.mark.parametrize(
    ("value", "light"), [(0.0, 0.0), (0.04045, 0.0031308), (0.5, 0.2140411), (0.4613561, 0.18), (1.0, 1.0)]
)
def test_values_stand_for_the_light_of_the_standard(value: float, light: float):
    assert to_linear(torch.tensor(value, dtype=torch.float64)).item() == pytest.approx(light, abs=1e-6)
    assert to_srgb(torch.tensor(light, dtype=torch.float64)).item() == pytest.approx(value, abs=1e-6)


def test_all_256_values_come_back_and_what_is_outside_counts_as_the_end():
    values = torch.linspace(0, 1, 256)
    torch.testing.assert_close(to_srgb(to_linear(values)), values, atol=1e-6, rtol=0)
    assert to_linear(torch.tensor([-0.5, 1.5])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("colour", "light"), [((1, 0, 0), 0.2126), ((0, 1, 0), 0.7152), ((0, 0, 1), 0.0722), ((1, 1, 0), 0.9278)]
)
def test_luminance_adds_light(colour: tuple[int, int, int], light: float):
    images = torch.tensor(colour, dtype=torch.float32)[None, :, None, None].expand(2, 3, 4, 5)
    found = luminance(images)
    assert found.shape == (2, 1, 4, 5)
    torch.testing.assert_close(to_linear(found), torch.full((2, 1, 4, 5), light), atol=1e-4, rtol=0)
