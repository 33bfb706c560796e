"""Resampling against torchvision, Pillow and torch's own antialiased interpolation."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from ssl_pipeline.augment.geometry import fit, resample, rotate, triangle_filter
from ssl_pipeline.data.decode import fit_boxes, to_canvas
from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.deployment.image_graph import write_image_graph
from ssl_pipeline.deployment.onnx_file import write_graph
from tests.factories import model_card

BACKGROUND = (10, 200, 90)


def crop(images: Tensor, top: float, left: float, height: float, width: float, size: int) -> Tensor:
    n = len(images)
    positions = torch.arange(size, dtype=torch.float32).expand(n, size)
    target = torch.full((n,), float(size))
    filters = [
        triangle_filter(pixels, torch.full((n,), start), torch.full((n,), length), positions, target)
        for pixels, start, length in ((images.shape[1], top, height), (images.shape[2], left, width))
    ]
    return resample(images, *filters) / 255


@pytest.mark.parametrize("size", [7, 32, 100])
@pytest.mark.parametrize("box", [(0, 0, 427, 640), (13, 200, 300, 211), (400, 600, 20, 31), (5, 5, 3, 2)])
def test_a_crop_is_torchvision_s_antialiased_resized_crop(photographs: Tensor, box: tuple[int, ...], size: int):
    top, left, height, width = box
    pixels = photographs.permute(0, 3, 1, 2).float() / 255
    expected = reference.resized_crop(pixels, top, left, height, width, [size, size], antialias=True)
    found = crop(photographs, float(top), float(left), float(height), float(width), size)
    assert (found - expected).abs().max() < 1e-4  # positions of hundreds of pixels, in float32


def test_a_fractional_crop_moves_smoothly_between_whole_ones(photographs: Tensor):
    whole, next_one = (crop(photographs, 40.0, left, 100.0, 100.0, 16) for left in (50.0, 51.0))
    between = crop(photographs, 40.0, 50.5, 100.0, 100.0, 16)
    assert (between - (whole + next_one) / 2).abs().max() < 0.02
    assert (between - whole).abs().max() > 1e-3


@pytest.mark.parametrize("hair", [-1e-3, 1e-3])
def test_a_pixel_that_is_cut_counts_by_the_share_inside(photographs: Tensor, hair: float):
    whole = crop(photographs, 200.0, 300.0, 4.0, 4.0, 16)  # strong edges: flower petals and roofs
    assert (crop(photographs, 200.0, 300.0 + hair, 4.0, 4.0, 16) - whole).abs().max() < 2e-3
    assert (crop(photographs, 200.0, 300.0, 4.0 + hair, 4.0, 16) - whole).abs().max() < 2e-3


@pytest.mark.parametrize("shape", [(427, 640), (640, 427), (33, 20), (9, 9), (1, 50), (1, 1)])
@pytest.mark.parametrize("mode", ["squash", "crop", "letterbox"])
def test_fit_is_the_store_s_resizing_without_its_rounding(photographs: Tensor, mode: str, shape: tuple[int, int]):
    turned = photographs if shape[0] <= 427 else photographs.transpose(1, 2)
    image = turned[:1, : shape[0], : shape[1]].contiguous()
    found = fit(image, 24, mode, BACKGROUND)[0].permute(1, 2, 0) * 255
    canvas = to_canvas(Image.fromarray(image[0].numpy()), 24, mode, BACKGROUND)  # type: ignore[arg-type]
    stored = torch.from_numpy(np.asarray(canvas).astype(np.float32))
    assert (found - stored).abs().max() <= 1.01  # Pillow rounds twice, each time by up to half a grey level


@pytest.mark.parametrize("size", [16, 32, 224])
def test_squash_is_torch_s_antialiased_interpolation(photographs: Tensor, size: int):
    pixels = photographs.permute(0, 3, 1, 2).float() / 255
    expected = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    assert (fit(photographs, size, "squash", BACKGROUND) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(1500, 2000), (2000, 700), (9, 1200), (8, 8), (1, 3)])
@pytest.mark.parametrize("size", [7, 33])
def test_squash_is_the_same_of_large_and_of_small_images(photographs: Tensor, shape: tuple[int, int], size: int):
    """Includes sides that bands do not divide, a photograph of megapixels, and an image of a few pixels."""
    rows = torch.arange(shape[0]) * photographs.shape[1] // shape[0]
    columns = torch.arange(shape[1]) * photographs.shape[2] // shape[1]
    images = photographs[:, rows][:, :, columns]
    pixels = images.permute(0, 3, 1, 2).float() / 255
    expected = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    assert (fit(images, size, "squash", BACKGROUND) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(20000, 17), (17, 20000)])
@pytest.mark.parametrize("mode", ["squash", "crop", "letterbox"])
def test_a_narrow_strip_is_fitted_as_exactly_as_a_photograph(mode: str, shape: tuple[int, int]):
    images = torch.randint(0, 256, (1, *shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (left, top, right, bottom), place = fit_boxes(shape[1], shape[0], 224, mode)  # type: ignore[arg-type]
    pixels = images[:, top:bottom, left:right].permute(0, 3, 1, 2).double() / 255
    sides = (place[3] - place[1], place[2] - place[0])
    expected = F.interpolate(pixels, size=sides, mode="bilinear", antialias=True, align_corners=False)
    found = fit(images, 224, mode, BACKGROUND)[:, :, place[1] : place[3], place[0] : place[2]]
    assert (found - expected).abs().max() < 1e-5


def test_an_image_of_the_right_size_is_left_as_it_is(canvases: Tensor):
    for mode in ("squash", "crop", "letterbox"):
        assert torch.equal(fit(canvases, 48, mode, BACKGROUND), canvases.permute(0, 3, 1, 2) / 255)


def test_letterbox_borders_have_the_background(photographs: Tensor):
    fitted = fit(photographs, 40, "letterbox", BACKGROUND) * 255
    corner = torch.tensor(BACKGROUND, dtype=torch.float32)
    torch.testing.assert_close(fitted[0, :, 0, 0], corner)
    torch.testing.assert_close(fitted[0, :, -1, -1], corner)


@pytest.mark.parametrize(  # the settings of other tests' graphs, so that each graph is traced once
    ("size", "mode", "background"),
    [(8, "squash", (255, 255, 255)), (32, "crop", (255, 128, 0)), (16, "letterbox", (255, 128, 0))],
)
def test_fit_exports_with_any_batch_height_and_width(
    photographs: Tensor, tmp_path: Path, size: int, mode: str, background: tuple[int, ...]
):
    path = tmp_path / "fit.onnx"
    card = model_card(size=size, resize=mode, background=background)
    write_image_graph(FromPixels(card, torch.nn.Flatten()), path, output="pixels", metadata={})
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for images in (photographs, photographs[:1, :50, :13], photographs[:, :size, :size], photographs[:1, :1, :1]):
        (found,) = session.run(["pixels"], {"images": images.numpy()})
        assert np.abs(found - fit(images, size, mode, background).flatten(1).numpy()).max() < 1e-5


@pytest.mark.parametrize("degrees", [-40.0, -10.0, 0.0, 3.0, 90.0])
def test_rotation_is_torchvision_s_where_nothing_comes_in_from_outside(canvases: Tensor, degrees: float):
    pixels = canvases.permute(0, 3, 1, 2).float() / 255
    expected = reference.rotate(pixels, degrees, interpolation=InterpolationMode.BILINEAR)
    inside = reference.rotate(torch.ones_like(pixels), degrees, interpolation=InterpolationMode.BILINEAR) > 0.999
    found = rotate(pixels, torch.full((len(pixels),), degrees))
    assert inside.float().mean() > 0.6
    assert (found - expected)[inside].abs().max() < 1e-3


def test_what_comes_in_from_outside_is_a_reflection_and_no_border(canvases: Tensor):
    white = torch.ones(1, 3, 20, 20)
    torch.testing.assert_close(rotate(white, torch.tensor([33.0])), white)


def test_a_photograph_resizes_as_pillow_resizes_it(photographs: Tensor):
    image = Image.fromarray(photographs[0].numpy())
    pillow = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)).astype(np.float32)
    ours = (fit(photographs[:1], 32, "squash", BACKGROUND)[0].permute(1, 2, 0) * 255).numpy()
    assert np.abs(ours - pillow).max() <= 1.01


GREY12 = ImageSpec(channels=1, dtype="uint16", low=0, high=4095)
HEIGHTS = ImageSpec(channels=2, dtype="float32", low=-100.0, high=900.0, nodata=-9999.0)


def test_twelve_bits_in_sixteen_are_twelve_bits():
    images = torch.tensor([[[[0], [4095]], [[1365], [2730]]]], dtype=torch.uint16)
    assert torch.allclose(fit(images, 2, "squash", (0,), GREY12), torch.tensor([[[[0, 1], [1 / 3, 2 / 3]]]]))


@pytest.mark.parametrize("mode", ["squash", "crop", "letterbox"])
def test_what_was_not_measured_is_not_mixed_into_what_was(mode: str):
    images = torch.full((1, 12, 16, 2), 400.0)
    images[0, :, :7, 0] = torch.nan
    images[0, 0, 0, 1], images[0, 3, 3, 1] = -9999.0, torch.inf
    fitted = fit(images, 8, mode, (150.0, 650.0), HEIGHTS)
    for channel, background in enumerate((0.25, 0.75)):
        found = fitted[0, channel]
        assert ((found - 0.5).abs().minimum((found - background).abs()) < 1e-6).all()
        assert (found == background).any() == (channel == 0 or mode == "letterbox")
    assert (fitted[0, :, :, 5] - 0.5).abs()[:, 2:6].max() < 1e-6


def test_images_with_gaps_are_fitted_the_same_by_a_graph(tmp_path: Path):
    class Fitted(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return fit(images, 8, "letterbox", (150.0, 650.0), HEIGHTS)

    dims = {number: torch.export.Dim(name) for number, name in enumerate(("n", "h", "w"))}
    example = torch.zeros(2, 9, 10, 2)
    path = tmp_path / "fit.onnx"
    write_graph(
        Fitted().eval(),
        (example,),
        path,
        input_names=["images"],
        output_names=["x"],
        dynamic_shapes=(dims,),
        metadata={},
    )
    images = torch.from_numpy(np.random.default_rng(0).uniform(-100, 900, (3, 12, 20, 2)).astype(np.float32))
    images[0, 2:9, 4:11] = torch.nan
    images[1, 0] = -9999.0
    (found,) = onnxruntime.InferenceSession(path).run(None, {"images": images.numpy()})
    assert np.isfinite(found).all()
    assert np.abs(found - Fitted()(images).numpy()).max() < 1e-5
