"""Views of images other than 8-bit RGB: their scale, and operations that need red, green and blue."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_pipeline.augment.display import displayed, shown_bands, stored
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.deployment.view_graph import export_views

GREY12 = ImageSpec(channels=1, dtype="uint16", low=0, high=4095)
BANDS5 = ImageSpec(channels=5, dtype="float32", low=-1.0, high=3.0, rgb=(3, 1, 0))
UNKNOWN = BANDS5.model_copy(update={"rgb": None})
IDS = np.arange(12, dtype=np.uint64)
PLAIN = Policy.model_validate(
    {
        "size": 16,
        "random_resized_crop": {"p": 0.7, "scale": [0.3, 1.0], "ratio": [0.8, 1.25]},
        "horizontal_flip": {"p": 0.5},
        "rotation": {"p": 0.5, "degrees": 20},
        "color_jitter": {"p": 0.8, "brightness": 0.3, "contrast": 0.3, "saturation": 0.0, "hue": 0.0},
        "gaussian_blur": {"p": 0.3, "sigma": [0.1, 1.0]},
        "solarize": {"p": 0.2, "threshold": 0.6},
        "gaussian_noise": {"p": 0.3, "std": 0.05},
    }
)
COLOURS = Policy.model_validate(
    {
        "size": 48,
        "color_jitter": {"p": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.5, "hue": 0.2},
        "grayscale": {"p": 0.3},
    }
)


def views(policy: Policy, images: Tensor, spec: ImageSpec) -> Tensor:
    return make_views({"x": policy}, {"x": 1}, images, IDS[: len(images)], 0, 0, spec)["x"][:, 0]


def test_twelve_bits_make_the_views_that_their_share_of_the_full_scale_makes(canvases: Tensor) -> None:
    """Each 8-bit value has a 12-bit value that is the same share of the full scale: 273 = 4095 / 15, 17 = 255 / 15."""
    grey = canvases[..., 1:2] // 17
    eight = ImageSpec(channels=1, dtype="uint8", low=0, high=255)
    expected = views(PLAIN, grey * 17, eight)
    assert expected.std() > 0.1
    found = views(PLAIN, (grey.to(torch.int32) * 273).to(torch.uint16), GREY12)
    assert (found - expected).abs().max() < 1e-6


def test_colours_of_many_bands_change_as_those_of_rgb_and_the_other_bands_stay(canvases: Tensor) -> None:
    images = torch.full((*canvases.shape[:3], 5), 0.2)
    images[..., [3, 1, 0]] = canvases.float() / 255 * 4 - 1
    found = views(COLOURS, images, BANDS5)
    expected = views(COLOURS, canvases, RGB8)
    assert (expected - canvases.permute(0, 3, 1, 2) / 255).abs().max() > 0.1
    assert (found[:, [3, 1, 0]] - expected).abs().max() < 1e-4
    assert (found[:, [2, 4]] - 0.3).abs().max() < 1e-6


def test_operations_on_colours_are_named_where_there_are_none(canvases: Tensor) -> None:
    images = torch.zeros(2, 48, 48, 5)
    assert COLOURS.on_colours() == ["color_jitter.saturation", "color_jitter.hue", "grayscale"]
    with pytest.raises(ValueError, match="color_jitter.saturation, color_jitter.hue, grayscale"):
        views(COLOURS, images, UNKNOWN)
    assert PLAIN.on_colours() == COLOURS.without_colours().on_colours() == []
    assert torch.equal(views(COLOURS.without_colours(), images, UNKNOWN), torch.full((2, 5, 48, 48), 0.25))


def test_images_of_another_type_than_their_record_are_refused(canvases: Tensor) -> None:
    with pytest.raises(ValueError, match="of uint16, from 0 to 4095"):
        views(PLAIN, canvases[..., :1], GREY12)
    with pytest.raises(ValueError, match="5 bands"):
        views(PLAIN, canvases, BANDS5)


@pytest.mark.parametrize("spec", [GREY12, BANDS5], ids=str)
def test_views_of_any_bands_are_made_the_same_by_a_graph(tmp_path: Path, spec: ImageSpec) -> None:
    assert 0 < export_views(PLAIN, 20, tmp_path / "views.onnx", spec).max_difference < 1e-4


def test_people_are_shown_rgb_where_it_is_known_and_told_which_bands(canvases: Tensor) -> None:
    images = np.zeros((*canvases.shape[:3], 5), np.float32)
    images[..., [3, 1, 0]] = canvases.numpy() / np.float32(255) * 4 - 1
    np.testing.assert_array_equal(displayed(images, BANDS5), canvases.numpy())
    assert shown_bands(BANDS5) == "bands 3, 1, 0 of 5"
    assert shown_bands(UNKNOWN) == "bands 0, 1, 2 of 5"
    assert shown_bands(RGB8) == shown_bands(GREY12) == ""
    grey = displayed(np.array([[[0], [4095]]], np.uint16), GREY12)
    np.testing.assert_array_equal(grey, [[[0] * 3, [255] * 3]])


@pytest.mark.parametrize("spec", [RGB8, GREY12, BANDS5], ids=str)
def test_images_go_back_to_the_units_of_their_files(spec: ImageSpec) -> None:
    shares = torch.rand(2, spec.channels, 4, 4, generator=torch.Generator().manual_seed(0))
    images = stored(shares, spec)
    assert images.shape == (2, 4, 4, spec.channels)
    assert images.dtype == spec.dtype
    back = (images.astype(np.float64) - spec.low) / (spec.high - spec.low)
    assert np.abs(back - shares.permute(0, 2, 3, 1).numpy()).max() <= 0.51 * spec.level
