"""Canvases: each way to resize, against a float64 reference."""

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from ssl_pipeline.data.decode import fit_boxes, to_canvas

PHOTO: npt.NDArray[np.uint8] = load_sample_image("flower.jpg")[100:140, 300:330]  # 40 high, 30 wide


def test_where_a_canvas_comes_from() -> None:
    assert fit_boxes(30, 40, 16, "squash") == ((0, 0, 30, 40), (0, 0, 16, 16))
    assert fit_boxes(30, 41, 16, "crop") == ((0, 5, 30, 35), (0, 0, 16, 16))
    assert fit_boxes(30, 40, 16, "letterbox") == ((0, 0, 30, 40), (2, 0, 14, 16))
    assert fit_boxes(40, 25, 16, "letterbox") == ((0, 0, 40, 25), (0, 3, 16, 13))
    assert fit_boxes(1000, 8, 16, "letterbox") == ((0, 0, 1000, 8), (0, 7, 16, 8))  # at least one pixel high
    assert fit_boxes(64, 22, 16, "letterbox")[1] == (0, 5, 16, 11)  # 5.5 px are rounded to 6


def triangle(pixels: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.float64]:
    """Resize bilinearly with antialiasing in float64: triangles about target centres, as wide as the scale or 1 px."""

    def weights(source: int, target: int) -> npt.NDArray[np.float64]:
        scale = source / target
        reach = max(scale, 1.0)
        centres = (np.arange(target)[:, None] + 0.5) * scale
        tent = np.maximum(0.0, 1.0 - np.abs(np.arange(source)[None, :] + 0.5 - centres) / reach)
        return tent / tent.sum(axis=1, keepdims=True)

    rows, columns = weights(pixels.shape[0], height), weights(pixels.shape[1], width)
    return np.einsum("yh,hwc,xw->yxc", rows, pixels.astype(np.float64), columns)


@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize("upright", [True, False])
def test_resizing_against_a_reference(size: int, upright: bool) -> None:
    picture = PHOTO if upright else np.ascontiguousarray(PHOTO.transpose(1, 0, 2))
    image = Image.fromarray(picture)
    squashed = to_canvas(image, size, "squash", (1, 2, 3))
    np.testing.assert_allclose(squashed, triangle(picture, size, size), atol=1)
    cropped = to_canvas(image, size, "crop", (1, 2, 3))
    square = picture[5:35] if upright else picture[:, 5:35]
    np.testing.assert_allclose(cropped, triangle(square, size, size), atol=1)
    boxed = to_canvas(image, size, "letterbox", (1, 2, 3))
    short, border = round(size * 30 / 40), (size - round(size * 30 / 40)) // 2
    expected = np.tile(np.array([1.0, 2.0, 3.0]), (size, size, 1))
    inside = slice(border, border + short)
    where = (slice(None), inside) if upright else (inside, slice(None))
    expected[where] = triangle(picture, *((size, short) if upright else (short, size)))
    np.testing.assert_allclose(boxed, expected, atol=1)
