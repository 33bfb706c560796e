"""Each operation, image by image, against torchvision's functional transform with the same parameters."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as reference

from ssl_pipeline.augment import colour, in_place
from ssl_pipeline.augment.noise import blur_radius, gaussian_blur, gaussian_noise


def changed(change: Callable[..., object]) -> Callable[..., Tensor]:
    """Turn an in-place operation into a function that returns a changed copy of the images."""

    def function(images: Tensor, *arguments: object) -> Tensor:
        change(found := images.clone(), *arguments)
        return found

    return function


def saturate(images: Tensor, factor: Tensor) -> None:
    in_place.saturation(images, in_place.saturation_mixtures(factor))


def turn_hue(images: Tensor, shift: Tensor) -> None:
    in_place.hue(images, in_place.hue_opposites(shift))


def blur(images: Tensor, sigma: Tensor) -> None:
    in_place.blur(images, *in_place.blur_taps(sigma, 6, images.shape[-1]))


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
        (changed(in_place.brightness), reference.adjust_brightness, numbers(0.0, 2.0)),
        (changed(in_place.contrast), reference.adjust_contrast, numbers(0.0, 2.0)),
        (changed(saturate), reference.adjust_saturation, numbers(0.0, 2.0)),
        (changed(turn_hue), reference.adjust_hue, numbers(-0.5, 0.5)),
    ],
)
def test_colour_is_torchvision_s(
    images: Tensor, ours: Callable[..., Tensor], theirs: Callable[..., Tensor], values: Tensor
):
    found = ours(images, values)
    for image, value, result in zip(images, values, found, strict=True):
        assert (result - theirs(image, value.item())).abs().max() < 1e-3
        assert (ours(image[None], value[None])[0] - result).abs().max() == 0  # the batch makes no difference


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


@pytest.mark.parametrize(
    ("plain", "change", "values"),
    [
        (colour.brightness, in_place.brightness, numbers(0.0, 2.0)),
        (colour.contrast, in_place.contrast, numbers(0.0, 2.0)),
        (partial(colour.contrast, is_rgb=False), partial(in_place.contrast, is_rgb=False), numbers(0.0, 2.0)),
        (colour.saturation, saturate, numbers(0.0, 2.0)),
        (colour.hue, turn_hue, numbers(-0.5, 0.5)),
        (lambda images, sigmas: gaussian_blur(images, sigmas, sigmas > 0, 6), blur, numbers(0.1, 2.0)),
    ],
    ids=["brightness", "contrast", "contrast of bands", "saturation", "hue", "blur"],
)
def test_in_place_is_the_plain_form_in_float64_but_for_last_bits(
    images: Tensor, plain: Callable[..., Tensor], change: Callable[..., object], values: Tensor
):
    """Tested on real images and on greys, equal colours, and values of 0 and 1."""
    steps = torch.tensor([0.0, 1e-6, 0.25, 0.5, 1.0])
    corners = torch.cartesian_prod(steps, steps, steps).T.reshape(1, 3, 5, 25).repeat(1, 1, 3, 1)
    for pixels in (images, F.pad(corners, (0, 0, 0, 10), mode="reflect").expand(12, -1, -1, -1).contiguous()):
        expected = plain(pixels.double(), values.double())
        found = changed(change)(pixels, values)
        assert (found - expected).abs().max() < 1e-6
        assert 0 <= found.min() <= found.max() <= 1
        for i in range(12):
            assert torch.equal(changed(change)(pixels[i : i + 1], values[i : i + 1])[0], found[i])


def test_grayscale_and_solarize_in_place_are_the_plain_forms(images: Tensor):
    assert (changed(in_place.grayscale)(images) - colour.grey(images.double())).abs().max() < 3e-7
    everyone = torch.ones(12, dtype=torch.bool)
    assert torch.equal(changed(in_place.solarize)(images, 0.3), colour.solarize(images, 0.3, everyone))
