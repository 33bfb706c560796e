"""Resampling: cropping, fitting and rotating images as pure batched functions of tensors.

Shrinking and enlarging go through one separable triangle filter (antialiased bilinear resampling, as Pillow and
torchvision define it), written as two matrix products: exact, differentiable, the same on every device, and exportable
to ONNX with operators that every runtime has. Sampling an image at single points instead aliases wherever the image
shrinks.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_pipeline.data.image_spec import RGB8, ImageSpec

__all__ = ["combine_rows", "fit", "resample", "rotate", "scaled", "triangle_filter", "triangle_taps"]

MIN_MEASURED = 0.5
"""Share of what a pixel is made of that must have been measured; the rest of it then counts for nothing."""

_BANDS = 8
"""Parts in which `fit` reads an image. Each is a few operations of a graph; with fewer, more of a photograph is there
as floats, and products are larger."""


def triangle_filter(pixels: int, start: Tensor, length: Tensor, positions: Tensor, target: Tensor) -> Tensor:
    """Return weights with which each output pixel sees the pixels of one axis.

    The interval [start, start + length) of the axis is resampled to `target` pixels. Each output pixel sees a triangle
    as wide as the larger of one input and one output pixel on either side of its centre; what lies outside the
    interval is not seen. At whole-numbered intervals this is torchvision's and Pillow's antialiased bilinear filter; a
    pixel that is cut by a fractional interval counts by the share of it that lies inside.

    Args:
        pixels: Length of the axis.
        start: (...,) float, the interval's beginning, in pixels.
        length: (...,) float, the interval's length, in pixels, at least 1.
        positions: (..., out) float, the numbers of the output pixels that are wanted, of `target`.
        target: (...,) float, the number of output pixels that the interval is resampled to.

    Returns:
        (..., out, pixels) float32; rows sum to 1.
    """
    left = torch.arange(pixels, device=start.device, dtype=torch.float32)
    start, length, target = (value[..., None] for value in (start, length, target))
    scale = length / target
    return _triangle(left, start + (positions + 0.5) * scale, scale, (start, length))


def triangle_taps(
    pixels: int, start: Tensor, length: Tensor, positions: Tensor, target: Tensor, widest: float
) -> tuple[Tensor, Tensor]:
    """Return the same filter as `triangle_filter` does, as the few pixels that each output pixel sees.

    Args:
        pixels: The length of the axis.
        start: The interval's beginning, (...,) float, in pixels.
        length: The interval's length, (...,) float, in pixels, at least 1.
        positions: The numbers of the output pixels that are wanted, (..., out) float.
        target: The number of output pixels that the interval is resampled to, (...,) float.
        widest: The largest `length / target` that occurs.

    Returns:
        The numbers of pixels (..., out, K) int32, of which no two are equal, and their weights (..., out, K) float32;
        K is the same for all, so that some have the weight 0.
    """
    count = min(math.ceil(2 * max(widest, 1.0)) + 1, pixels)
    start, length, target = (value[..., None] for value in (start, length, target))
    scale = length / target
    centres = start + (positions + 0.5) * scale
    first = (centres - count / 2).round().clamp(0, pixels - count)  # at least half a pixel to spare on either side
    seen = first[..., None] + torch.arange(count, device=start.device, dtype=torch.float32)
    return seen.to(torch.int32), _triangle(seen, centres, scale, (start, length))


def _triangle(left: Tensor, centres: Tensor, scale: Tensor, interval: tuple[Tensor, Tensor]) -> Tensor:
    """Return weights (..., out, K) of pixels by their left edges, (K,) or (..., out, K), for centres (..., out).

    They are of an interval by its start and length.
    """
    distance = (left + 0.5 - centres[..., None]).abs() / scale.clamp(min=1.0)[..., None]
    weights = (1 - distance).clamp(min=0)
    start, length = interval
    start, end = start[..., None], (start + length)[..., None]
    covered = torch.minimum(left + 1, end) - torch.maximum(left, start)
    weights = weights * covered.clamp(0, 1)
    return weights / weights.sum(-1, keepdim=True)


def combine_rows(images: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Make each row of an image of a few of its rows: the product with a matrix that is nearly all zeros.

    Each sum has its own order, so that neither the batch nor threads reach its last bit.

    Args:
        images: The images (N, C, H, W), float32.
        rows: The numbers of the rows that each is made of, in [0, H): (N, S, K) int32.
        weights: Their weights (N, S, K), float32.

    Returns:
        (N, C, S, W) float32, with the values of `weights @ images`.
    """
    n, channels, height, width = images.shape
    tables = torch.arange(0, n * channels * height, height, device=images.device, dtype=torch.int32)
    bags = (rows[:, None] + tables.view(n, channels, 1, 1)).flatten(0, 2)
    shares = weights[:, None].expand(-1, channels, -1, -1).flatten(0, 2)
    images = images.reshape(-1, width).contiguous()  # of others, the sums have another order
    made = F.embedding_bag(bags, images, mode="sum", per_sample_weights=shares)
    return made.view(n, channels, rows.shape[1], width)


def resample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply one filter to each axis.

    Args:
        images: (N, H, W, C) images of any dtype.
        rows: Weights (N, S, H) or (1, S, H), float32.
        columns: Weights (N, T, W) or (1, T, W), float32.

    Returns:
        (N, C, S, T) float32, in the units of `images`.
    """
    n, height, width, channels = images.shape
    flat = images.to(torch.float32).reshape(n, height, width * channels)
    short = torch.bmm(rows.expand(n, -1, -1), flat).reshape(n, rows.shape[1], width, channels)
    flat = short.permute(0, 3, 1, 2).reshape(n, channels * rows.shape[1], width)
    small = torch.bmm(flat, columns.expand(n, -1, -1).transpose(1, 2))
    return small.reshape(n, channels, rows.shape[1], columns.shape[1])


def scaled(values: Tensor, spec: ImageSpec) -> Tensor:
    """Return values in the images' units, float32, as shares of the full scale; those outside of it become 0 or 1."""
    if spec.low:
        values = values - spec.low
    return (values / (spec.high - spec.low)).clamp(0, 1)


def fit(images: Tensor, size: int, mode: str, background: Sequence[float], spec: ImageSpec = RGB8) -> Tensor:
    """Resize images of any one shape to a square, the way the store's canvases were made, but without rounding.

    Args:
        images: (N, H, W, C) images of the type that the spec names.
        size: S, the side of the square in pixels.
        mode: "squash": both sides to S; "crop": the largest centred square; "letterbox": all of it, centred, its longer
            side S.
        background: The value of each channel, in the units of the images, where an image has no pixels: in letterbox
            borders, and where more than half of what a pixel is made of was not measured.
        spec: What the images' values mean.

    Returns:
        (N, C, S, S) float32 in [0, 1]. If H = W = S, exactly the images' values, scaled.

    Raises:
        ValueError: Images have a height or width of 0.
    """
    height, width = images.shape[1:3]
    if height == 0 or width == 0:
        raise ValueError(f"images must have pixels, got {tuple(images.shape)}")
    slots = torch.arange(-(-size // _BANDS) * _BANDS, device=images.device).clamp(max=size - 1)
    rows, columns = (_axis(slots, size, pixels, (height, width), mode) for pixels in (height, width))
    fitted, *share = _resampled(images, rows, columns, size, spec)
    empty = torch.tensor(background, dtype=torch.float32, device=images.device).reshape(1, -1, 1, 1)
    if share:
        fitted = torch.where(share[0] >= MIN_MEASURED, fitted / share[0].clamp(min=MIN_MEASURED), empty)
    fitted = scaled(fitted, spec)  # weights sum to 1 but for a last bit
    if rows.inside is not None and columns.inside is not None:
        inside = rows.inside[:size, None] & columns.inside[:size]
        fitted = torch.where(inside, fitted, scaled(empty, spec))
    return fitted


class _Axis(NamedTuple):
    """Of what the S pixels that an axis becomes are made, in B bands of E neighbouring ones each, B * E >= S.

    Attributes:
        seen: The numbers of the pixels that a band is made of, (B, K) int64.
        weights: Their weights, (B, E, K) float32.
        inside: Whether a pixel is one of the image's and not of a border, (B * E,) bool; None: all are.
    """

    seen: Tensor
    weights: Tensor
    inside: Tensor | None


def _axis(slots: Tensor, size: int, pixels: int, sides: tuple[int, int], mode: str) -> _Axis:
    """Return how `fit` brings one axis to its size.

    Lengths may be symbols, whose values torch.export does not know. A mode does what it needs and no more: each
    operation makes the export of a graph a hundredth of a second longer.

    Args:
        slots: The numbers of the pixels that are wanted, (B * E,).
        size: S, the length that the axis becomes.
        pixels: The length of the axis.
        sides: The height and the width of the image.
        mode: The way of resizing, as of `fit`.
    """
    start: int | torch.SymInt = 0
    length: int | torch.SymInt = pixels
    target: int | torch.SymInt = size
    inside = None
    if mode == "crop":
        length = torch.sym_min(*sides)
        start = (pixels - length) // 2
    elif mode == "letterbox":
        longest = torch.sym_max(*sides)
        target = torch.sym_max((2 * pixels * size + longest) // (2 * longest), 1)  # rounded half up
        slots = slots - (size - target) // 2
        inside = (slots >= 0) & (slots < target)
        slots = slots.clamp(0, target - 1)
    scale: Tensor = torch.full((1,), length, device=slots.device) / target  # type: ignore[assignment]
    centres = ((slots + 0.5) * scale).reshape(_BANDS, -1, 1)  # in the interval: in float32, far from 0 is less exact
    # a band sees what lies between its outer centres, (E - 1) * scale, half a triangle beyond each, and roundings
    count = torch.sym_min((centres.shape[1] + 1) * length // target + 5, length)
    reach = scale.clamp(min=1)
    first = (centres[:, :1] - reach - 0.5).floor().clamp(0, length - count)
    near = first + torch.arange(count, device=slots.device)  # (B, 1, K)
    weights = (1 - (near + 0.5 - centres).abs() / reach).clamp(min=0)
    return _Axis(near[:, 0].to(torch.int64) + start, weights / weights.sum(-1, keepdim=True), inside)


def _resampled(images: Tensor, rows: _Axis, columns: _Axis, size: int, spec: ImageSpec) -> Sequence[Tensor]:
    """Apply a filter to each axis, without holding a whole photograph as floats, four times its memory.

    A filter is a matrix that is nearly all zeros. Of the rows, the pixels of one band after the other become floats and
    are multiplied by the weights of that band; the products are smaller by as much. What is left of the rows, S x W
    pixels, is small where an image is much higher than S, and the bands of its columns are multiplied at once. An image
    that is lower than S and very wide is enlarged by this: `ssl_pipeline.runtime.resizing_pixels` counts it.

    Returns:
        (N, C, S, S) float32, in the units of `images`; and, where pixels may not have been measured, the share of each
        that was, of which the first counts nothing but what was.
    """
    n, height, width, channels = images.shape
    planes = 2 if spec.may_lack_pixels else 1
    as_floats = partial(_measured, spec=spec) if spec.may_lack_pixels else _floats
    lines = images.reshape(n, height, width * channels)  # a -1 would be undefined where there is no image
    bands = (as_floats(lines.index_select(1, seen)) for seen in rows.seen.unbind(0))
    filters = rows.weights.expand(n, -1, -1, -1).unbind(1)
    short = torch.cat([torch.bmm(*pair) for pair in zip(filters, bands, strict=True)], dim=1)[:, :size]
    across = size * planes * channels
    lines = short.reshape(n, size, planes, width, channels).permute(0, 3, 1, 2, 4).reshape(n, width, across)
    seen = lines.index_select(1, columns.seen.flatten()).reshape(n * _BANDS, columns.seen.shape[1], across)
    small = torch.bmm(columns.weights.expand(n, -1, -1, -1).flatten(0, 1), seen).reshape(
        n, _BANDS * columns.weights.shape[1], across
    )[:, :size]
    return small.reshape(n, size, size, planes, channels).permute(3, 0, 4, 2, 1).unbind(0)


def _floats(values: Tensor) -> Tensor:
    return values.to(torch.float32)


def _measured(values: Tensor, spec: ImageSpec) -> Tensor:
    """Return values (N, K, Q) as floats, 0 where nothing was measured, and then as many, 1 where something was or 0."""
    values = values.to(torch.float32)
    measured = values.abs() < math.inf  # false for NaN, too
    if spec.nodata is not None:
        measured = measured & (values != spec.nodata)
    return torch.cat([torch.where(measured, values, 0.0), measured.to(torch.float32)], dim=2)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate counter-clockwise about the centre, bilinearly; what comes in from outside is the image's reflection.

    A border of one colour would be a shortcut: its corners give the angle away, and torchvision's black ones are
    moreover an edge that no photograph has.

    Args:
        images: (N, C, S, S) images.
        degrees: (N,) angles in degrees.

    Returns:
        (N, C, S, S); within the turned image's outline equal to `torchvision.transforms.v2.functional.rotate`.
    """
    size = images.shape[-1]
    radians = degrees * (math.pi / 180)
    cos, sin = radians.cos()[:, None, None], radians.sin()[:, None, None]
    centres = torch.arange(size, device=images.device, dtype=torch.float32) + 0.5
    axis = centres * 2 / size - 1  # in (-1, 1)
    x, y = axis[None, None, :], axis[None, :, None]
    grid = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
