"""The views that training makes equal those of the plain form, which graphs contain, except for the last bits."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_pipeline.augment.geometry import combine_rows, resample, triangle_filter, triangle_taps
from ssl_pipeline.augment.maker import ViewMaker
from ssl_pipeline.augment.plain import PlainViewMaker
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.data.image_spec import RGB8, ImageSpec

CROP = {"p": 0.9, "scale": [0.05, 1.0], "ratio": [0.5, 2.0]}
JITTER = {"p": 0.8, "brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.5}
EVERYTHING: dict[str, Any] = {
    "random_resized_crop": CROP,
    "horizontal_flip": {"p": 0.5},
    "vertical_flip": {"p": 0.5},
    "rotation": {"p": 0.5, "degrees": 40},
    "color_jitter": JITTER,
    "grayscale": {"p": 0.2},
    "gaussian_blur": {"p": 0.5, "sigma": [0.1, 2.0]},
    "gaussian_noise": {"p": 0.5, "std": 0.05},
}
BANDS = ImageSpec(channels=5, dtype="float32", low=-1.0, high=3.0, rgb=(3, 1, 0))


def both(policy: dict[str, Any], images: Tensor, spec: ImageSpec = RGB8) -> tuple[Tensor, Tensor]:
    """Return the views of the same random numbers from both makers; each image has four views."""
    wanted, generator = Policy.model_validate(policy), torch.Generator().manual_seed(0)
    made, plain = ViewMaker(wanted, spec), PlainViewMaker(wanted, spec)
    images = images.repeat(4, 1, 1, 1)
    uniforms = torch.rand(len(images), made.parameter_count, generator=generator)
    normals = torch.randn(len(images), spec.channels, wanted.size, wanted.size, generator=generator)
    return made(images, uniforms, normals), plain(images, uniforms, normals)


@pytest.mark.parametrize("size", [10, 48, 70])
def test_views_are_those_of_the_plain_form(canvases: Tensor, size: int):
    found, expected = both({"size": size, **EVERYTHING}, canvases)
    assert expected.std() > 0.1
    assert (found - expected).abs().max() < 2e-6  # after eight operations


def test_views_of_bands_are_those_of_the_plain_form(canvases: Tensor):
    images = torch.cat([canvases, canvases.flip(3)], 3)[..., :5].float() / 255 * 4 - 1
    found, expected = both({"size": 20, **EVERYTHING}, images, BANDS)
    assert (found - expected).abs().max() < 2e-6


def test_views_of_one_channel_are_the_same_alone_as_in_a_batch(canvases: Tensor):
    grey = ImageSpec(channels=1, dtype="uint8", low=0, high=255)
    policy = {"size": 20, "random_resized_crop": CROP, "gaussian_blur": {"p": 0.5, "sigma": [0.1, 2.0]}}
    maker = ViewMaker(Policy.model_validate(policy), grey)
    uniforms = torch.rand(12, maker.parameter_count, generator=torch.Generator().manual_seed(0))
    whole = maker(canvases[..., :1], uniforms)
    for i in range(12):
        assert torch.equal(maker(canvases[i : i + 1, ..., :1], uniforms[i : i + 1])[0], whole[i])


def test_images_may_lie_in_memory_in_any_order(canvases: Tensor):
    maker = ViewMaker(Policy.model_validate({"size": 20, "random_resized_crop": CROP}))
    uniforms = torch.rand(12, maker.parameter_count, generator=torch.Generator().manual_seed(0))
    expected = maker(canvases, uniforms)
    planar = canvases.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert torch.equal(maker(planar, uniforms), expected)
    part = torch.cat([canvases.float(), canvases.float()], 3)[..., :3]
    floats = ViewMaker(maker.policy, ImageSpec(channels=3, dtype="float32", low=0, high=255))
    assert torch.equal(floats(part, uniforms), expected)


@pytest.mark.parametrize("size", [7, 48, 100])
def test_a_crop_of_few_taps_is_the_product_with_the_whole_filter_in_float64(canvases: Tensor, size: int):
    generator = torch.Generator().manual_seed(size)
    length = 1 + 47 * torch.rand(12, generator=generator)
    start = (48 - length) * torch.rand(12, generator=generator)
    start[0], length[0] = 0.0, 48.0  # the whole axis
    start[1], length[1] = 47.0, 1.0  # the last pixel of the axis
    positions, target = torch.arange(size).float().expand(12, -1), torch.full((12,), float(size))
    rows, weights = triangle_taps(48, start, length, positions, target, 48 / size)
    images = canvases.permute(0, 3, 1, 2).float() / 255
    filters = triangle_filter(48, *(value.double() for value in (start, length, positions, target)))
    dense = torch.zeros(12, size, 48).scatter_add(2, rows.long(), weights)
    assert (dense - filters).abs().max() < 1e-5  # positions in float32
    exact = dense.double()[:, None] @ images.double()
    assert (combine_rows(images, rows, weights) - exact).abs().max() < 5e-7
    plain = triangle_filter(48, start, length, positions, target)
    assert (dense - plain).abs().max() < 2e-7
    whole = torch.eye(48).expand(12, -1, -1)
    assert (resample(canvases, plain, whole) / 255 - exact).abs().max() < 5e-7


def test_an_operation_that_nobody_drew_costs_nothing(canvases: Tensor, monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []
    monkeypatch.setattr("ssl_pipeline.augment.in_place.blur", lambda images, *_: seen.append(len(images)))
    maker = ViewMaker(Policy.model_validate({"size": 8, "gaussian_blur": {"p": 0.5, "sigma": [1.0, 1.0]}}))
    numbers = torch.full((12, maker.parameter_count), 0.7)
    maker(canvases, numbers)
    assert seen == []
    numbers[3:5] = 0.2
    maker(canvases, numbers)
    assert seen == [2]
