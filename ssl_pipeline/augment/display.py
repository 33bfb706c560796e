"""From images in [0, 1] back to pixels: as a store holds them, or as RGB of 8 bits for display."""

import torch
from torch import Tensor

from ssl_pipeline.augment.geometry import scaled
from ssl_pipeline.data.image_spec import ImageSpec, Pixels

__all__ = ["chosen_bands", "displayed", "shown_bands", "stored"]


def bands_of(spec: ImageSpec) -> tuple[int, int, int]:
    """Return the channels that are shown as red, green and blue: the real ones, the first three, or the first as grey.

    Two bands hold as little colour as one, so only the first of them is shown.
    """
    return spec.rgb or ((0, 1, 2) if spec.channels >= 3 else (0, 0, 0))


def shown_bands(spec: ImageSpec) -> str:
    """Return in words which bands are shown; empty if these are all bands."""
    if spec.is_rgb or spec.channels == 1:
        return ""
    bands = bands_of(spec)
    which = "band 0" if bands == (0, 0, 0) else "bands " + ", ".join(map(str, bands))
    return f"{which} of {spec.channels}"


def chosen_bands(images: Tensor, spec: ImageSpec, dim: int) -> Tensor:
    """Return images with only the three channels that are shown; `dim` is the dimension of the channels."""
    if spec.is_rgb:
        return images
    return images.index_select(dim, torch.tensor(bands_of(spec), device=images.device))


def displayed(images: Pixels, spec: ImageSpec) -> Pixels:
    """Return stored images (..., H, W, C) as uint8 (..., H, W, 3), with the full scale from black to white."""
    if spec.is_rgb and spec.dtype == "uint8":
        return images
    values = torch.from_numpy(images).to(torch.float32)
    shown = scaled(chosen_bands(values, spec, values.ndim - 1), spec)
    pixels: Pixels = shown.mul(255).round().to(torch.uint8).numpy()
    return pixels


def stored(images: Tensor, spec: ImageSpec) -> Pixels:
    """Return images (N, C, S, S) in [0, 1] as a store holds them: (N, S, S, C) in the files' units and type."""
    values = images.clamp(0, 1).mul(spec.high - spec.low)
    if spec.low:
        values = values + spec.low
    whole = values if spec.dtype == "float32" else values.round()
    pixels: Pixels = whole.to(getattr(torch, spec.dtype)).permute(0, 2, 3, 1).contiguous().numpy()
    return pixels
