"""Each operation, image by image, against torchvision's functional transform with the same parameters."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from ssl_pipeline.augment import colour
from ssl_pipeline.augment.noise import blur_radius, gaussian_blur, gaussian_noise


@pytest.fixture(scope="module")
def images(canvases: Tensor) -> Tensor:
    return canvases.permute(0, 3, 1, 2).float() / 255


def numbers(low: float, high: float) -> Tensor:
    return torch.from_numpy(np.linspace(low, high, 12, dtype=np.float32))


@pytest.mark.parametrize(
    ("ours", "theirs", "values"),
    [
        (colour.brightness, reference.adjust_brightness, numbers(0.0, 2.0)),
        (colour.contrast, reference.adjust_contrast, numbers(0.0, 2.0)),
        (colour.saturation, reference.adjust_saturation, numbers(0.0, 2.0)),
        (colour.hue, reference.adjust_hue, numbers(-0.5, 0.5)),
    ],
)
def test_colour_is_torchvision_s(
    images: Tensor, ours: Callable[..., Tensor], theirs: Callable[..., Tensor], values: Tensor
):
    found = ours(images, values)
    for image, value, result in zip(images, values, found, strict=True):
        assert (result - theirs(image, value.item())).abs().max() < 1e-3
        assert (ours(image[None], value[None])[0] - result).abs().max() == 0  # the same alone as in a batch


def test_grey_is_torchvision_s(images: Tensor):
    expected = reference.rgb_to_grayscale(images)
    assert (colour.grey(images) - expected).abs().max() < 1e-3


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_solarize_is_torchvision_s(images: Tensor, threshold: float):
    everyone = torch.ones(12, dtype=torch.bool)
    assert torch.equal(colour.solarize(images, threshold, everyone), reference.solarize(images, threshold))
    assert torch.equal(colour.solarize(images, threshold, ~everyone), images)


@pytest.mark.parametrize("largest", [0.5, 2.0])
def test_blur_is_torchvision_s_with_a_kernel_of_that_size(images: Tensor, largest: float):
    radius = blur_radius(largest, 48)
    sigmas = numbers(0.1, largest)
    found = gaussian_blur(images, sigmas, torch.ones(12, dtype=torch.bool), radius)
    for image, sigma, result in zip(images, sigmas, found, strict=True):
        expected = reference.gaussian_blur(image, [2 * radius + 1] * 2, [sigma.item()] * 2)
        assert (result - expected).abs().max() < 1e-3


def test_whoever_is_not_chosen_keeps_every_bit(images: Tensor):
    nobody, ones, zeros = torch.zeros(12, dtype=torch.bool), torch.ones(12), torch.zeros(12)
    assert torch.equal(gaussian_blur(images, ones, nobody, 3), images)
    assert torch.equal(gaussian_noise(images, torch.randn_like(images), zeros), images)
    for operation in (colour.brightness, colour.contrast, colour.saturation):
        assert torch.equal(operation(images, ones), images)
    assert torch.equal(colour.hue(images, zeros), images)


def test_noise_has_its_std_and_stays_in_range(images: Tensor):
    grey = torch.full_like(images, 0.5)
    noise = torch.randn(grey.shape, generator=torch.Generator().manual_seed(0))
    noisy = gaussian_noise(grey, noise, torch.full((12,), 0.1))
    assert (noisy - grey).std().item() == pytest.approx(0.1, rel=0.02)
    extreme = gaussian_noise(images, 100 * noise, torch.ones(12))
    assert 0 <= extreme.min() <= extreme.max() <= 1
