"""Views: every operation of a policy as one pure function of images and random numbers.

The order is that of `Policy`, and the same for all views: geometry first, so that all that follows works on the view's
few pixels; colour before blur, which would otherwise see edges that clamping made; noise last, as a sensor adds it, so
that nothing smooths or inverts it. Brightness, contrast, saturation and hue follow each other in this order
(torchvision shuffles them: they nearly commute, and a graph would have to compute all four at each of four places).
"""

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ssl_pipeline import randomness
from ssl_pipeline.augment import colour, geometry
from ssl_pipeline.augment.noise import blur_radius, gaussian_blur
from ssl_pipeline.augment.noise import gaussian_noise as add_noise
from ssl_pipeline.augment.policy import Policy

Draw = dict[str, Tensor]

__all__ = ["PARAMETERS", "ViewMaker", "make_views"]

PARAMETERS = (
    "random_resized_crop",
    "random_resized_crop.area",
    "random_resized_crop.ratio",
    "random_resized_crop.top",
    "random_resized_crop.left",
    "horizontal_flip",
    "vertical_flip",
    "rotation",
    "rotation.angle",
    "color_jitter",
    "color_jitter.brightness",
    "color_jitter.contrast",
    "color_jitter.saturation",
    "color_jitter.hue",
    "grayscale",
    "gaussian_blur",
    "gaussian_blur.sigma",
    "solarize",
    "gaussian_noise",
)
"""What each column of the uniforms decides. Every policy has all columns, so that turning an operation off changes no
other's numbers; a bare name is the choice whether a view receives the operation: it does if the number is below p."""

_CHUNK_VALUES = 2**19
"""Values of the views that are made at a time: some megabytes, which stay in a CPU's cache."""


class ViewMaker(nn.Module):
    """Makes one kind of view. The policy's values are constants of the module, and what it leaves out costs nothing.

    Args:
        policy: The kind's policy.
    """

    parameter_count = len(PARAMETERS)

    def __init__(self, policy: Policy):
        super().__init__()
        self.policy = policy
        self.active = policy.active()

    @property
    def needs_noise(self) -> bool:
        """Whether `forward` wants normal numbers."""
        return "gaussian_noise" in self.active

    def forward(self, images: Tensor, uniforms: Tensor, noise: Tensor | None = None) -> Tensor:
        """Make one view of each image.

        Args:
            images: (N, C, C, 3) uint8, the canvases.
            uniforms: (N, P) float32 in [0, 1), a column for each of `PARAMETERS`.
            noise: (N, 3, S, S) float32, standard normal, if `needs_noise`.

        Returns:
            (N, 3, S, S) float32 in [0, 1].
        """
        draw = dict(zip(PARAMETERS, uniforms.unbind(1), strict=True))
        views = self._place(images, draw)
        for name in ("rotation", "color_jitter", "grayscale", "gaussian_blur", "solarize"):
            if name in self.active:
                views = getattr(self, f"_{name}")(views, draw)
        if self.needs_noise:
            options = self._options("gaussian_noise")
            std = torch.where(draw["gaussian_noise"] < options.p, options.std, 0.0)
            views = add_noise(views, cast(Tensor, noise), std)
        return views

    def _options(self, name: str) -> Any:
        return getattr(self.policy, name)

    def _place(self, images: Tensor, draw: Draw) -> Tensor:
        """Crop, resize and flip in one resampling."""
        canvas = images.shape[1]
        side = torch.full_like(draw["random_resized_crop"], float(canvas))
        height, width, top, left = side, side, torch.zeros_like(side), torch.zeros_like(side)
        if "random_resized_crop" in self.active:
            options = self._options("random_resized_crop")
            chosen = draw["random_resized_crop"] < options.p
            area = _between(draw["random_resized_crop.area"], *options.scale) * canvas**2
            ratio = _between(draw["random_resized_crop.ratio"], *(math.log(limit) for limit in options.ratio)).exp()
            height = torch.where(chosen, (area / ratio).sqrt().clamp(1, canvas), side)
            width = torch.where(chosen, (area * ratio).sqrt().clamp(1, canvas), side)
            top = draw["random_resized_crop.top"] * (side - height)
            left = draw["random_resized_crop.left"] * (side - width)
        rows = self._filter(canvas, top, height, self._flipped("vertical_flip", draw))
        columns = self._filter(canvas, left, width, self._flipped("horizontal_flip", draw))
        return (geometry.resample(images, rows, columns) / 255).clamp(0, 1)

    def _flipped(self, name: str, draw: Draw) -> Tensor | None:
        return draw[name] < self._options(name).p if name in self.active else None

    def _filter(self, canvas: int, start: Tensor, length: Tensor, flipped: Tensor | None) -> Tensor:
        """The filter (N, S, C) of one axis; a flip reverses the order of its output pixels."""
        size = self.policy.size
        positions = torch.arange(size, device=start.device, dtype=torch.float32).expand(start.shape[0], size)
        if flipped is not None:
            positions = torch.where(flipped[:, None], size - 1 - positions, positions)
        return geometry.triangle_filter(canvas, start, length, positions, torch.full_like(start, float(size)))

    def _rotation(self, views: Tensor, draw: Draw) -> Tensor:
        options = self._options("rotation")
        angle = _between(draw["rotation.angle"], -options.degrees, options.degrees)
        return geometry.rotate(views, torch.where(draw["rotation"] < options.p, angle, 0.0))

    def _color_jitter(self, views: Tensor, draw: Draw) -> Tensor:
        options = self._options("color_jitter")
        chosen = draw["color_jitter"] < options.p
        for name in ("brightness", "contrast", "saturation"):
            strength = getattr(options, name)
            if strength:
                factor = _between(draw[f"color_jitter.{name}"], 1 - strength, 1 + strength)
                views = getattr(colour, name)(views, torch.where(chosen, factor, 1.0))
        if options.hue:
            shift = _between(draw["color_jitter.hue"], -options.hue, options.hue)
            views = colour.hue(views, torch.where(chosen, shift, 0.0))
        return views

    def _grayscale(self, views: Tensor, draw: Draw) -> Tensor:
        chosen = draw["grayscale"] < self._options("grayscale").p
        return torch.where(chosen[:, None, None, None], colour.grey(views), views)

    def _gaussian_blur(self, views: Tensor, draw: Draw) -> Tensor:
        options = self._options("gaussian_blur")
        sigma = _between(draw["gaussian_blur.sigma"], *options.sigma)
        radius = blur_radius(options.sigma[1], self.policy.size)
        return gaussian_blur(views, sigma, draw["gaussian_blur"] < options.p, radius)

    def _solarize(self, views: Tensor, draw: Draw) -> Tensor:
        options = self._options("solarize")
        return colour.solarize(views, options.threshold, draw["solarize"] < options.p)


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * uniform


def make_views(
    policies: Mapping[str, Policy],
    counts: Mapping[str, int],
    images: Tensor,
    ids: npt.NDArray[np.uint64],
    seed: int,
    epoch: int,
) -> dict[str, Tensor]:
    """Make all views that a pretext task asks for; a sample's are the same in every batch, to the bit.

    Args:
        policies: Kind -> policy.
        counts: Kind -> how many views of it.
        images: (N, C, C, 3) uint8 canvases, on the device on which to compute.
        ids: (N,) identities of the samples.
        seed: The run's.
        epoch: From 0.

    Returns:
        Kind -> (N, V, 3, S, S) float32 in [0, 1].
    """
    return {
        kind: torch.stack(
            [_one(ViewMaker(policies[kind]), images, ids, seed, epoch, f"{kind}/{i}") for i in range(count)], 1
        )
        for kind, count in counts.items()
    }


def _one(maker: ViewMaker, images: Tensor, ids: npt.NDArray[np.uint64], seed: int, epoch: int, view: str) -> Tensor:
    """One view of each image, made in chunks."""
    size = maker.policy.size
    chunk = max(1, _CHUNK_VALUES // (3 * max(size, images.shape[1]) ** 2))
    parts = []
    for start in range(0, len(ids), chunk):
        part = ids[start : start + chunk]
        uniforms = torch.from_numpy(randomness.uniforms(seed, epoch, part, view, maker.parameter_count))
        noise = None
        if maker.needs_noise:
            noise = torch.from_numpy(randomness.normals(seed, epoch, part, view, (3, size, size))).to(images.device)
        parts.append(maker(images[start : start + chunk], uniforms.to(images.device), noise))
    return torch.cat(parts)
