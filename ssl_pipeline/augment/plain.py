"""The plain form of views: every operation runs on every image, and its result is kept for those that drew it.

Graphs are traced from this form, because a graph has no other way of leaving an image alone. No shape and no branch
depends on the random numbers. `ssl_pipeline.augment.maker` makes the same views faster, up to last bits; the proof of
a graph compares the two.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ssl_pipeline.augment import colour, geometry, noise
from ssl_pipeline.augment.draws import PARAMETERS, Draw, between, box
from ssl_pipeline.augment.maker import ViewMaker
from ssl_pipeline.augment.policy import ColorJitter, GaussianBlur, Operation, Policy, Rotation
from ssl_pipeline.augment.view_operation import ViewOperation
from ssl_pipeline.data.image_spec import ImageSpec

__all__ = ["PlainViewMaker"]


class PlainViewMaker(ViewMaker):
    """A maker of views that works as graphs do, with the same arguments as `ViewMaker`."""

    def forward(self, images: Tensor, uniforms: Tensor, normals: Tensor | None = None) -> Tensor:
        """Make one view of each image; arguments and result are those of `ViewMaker.forward`."""
        policy = self.policy
        draw = dict(zip(PARAMETERS, uniforms.unbind(1), strict=False))  # columns of plugins' operations follow
        views = _place(images, policy, draw, self.spec)
        if policy.rotation:
            views = _rotate(views, policy.rotation, draw)
        if policy.color_jitter:
            views = _jitter(views, policy.color_jitter, draw, self.spec)
        if policy.grayscale:
            chosen = _each(draw["grayscale"] < policy.grayscale.p)
            views = _on_rgb(views, self.spec, lambda colours: torch.where(chosen, colour.grey(colours), colours))
        if policy.gaussian_blur:
            views = _blur(views, policy.gaussian_blur, draw)
        if policy.solarize:
            views = colour.solarize(views, policy.solarize.threshold, draw["solarize"] < policy.solarize.p)
        if policy.gaussian_noise:
            assert normals is not None, "a policy with gaussian_noise needs normal numbers"
            std = torch.where(draw["gaussian_noise"] < policy.gaussian_noise.p, policy.gaussian_noise.std, 0.0)
            views = noise.gaussian_noise(views, normals, std)
        for name, operation in self.plugins.items():
            own = uniforms[:, self.columns[name]]
            views = self._on_chosen(operation.built, views, own[:, 0] < operation.p, own[:, 1:])
        return views

    def _on_chosen(self, operation: ViewOperation, views: Tensor, chosen: Tensor, numbers: Tensor) -> Tensor:
        def on_chosen(images: Tensor) -> Tensor:
            return torch.where(_each(chosen), operation(images, numbers), images)

        return _on_rgb(views, self.spec, on_chosen) if "rgb" in operation.needs else on_chosen(views)


def _place(images: Tensor, policy: Policy, draw: Draw, spec: ImageSpec) -> Tensor:
    """Crop, resize and flip in one resampling: (N, C, S, S)."""
    canvas = images.shape[1]
    (top, height), (left, width) = box(canvas, policy.random_resized_crop, draw)
    rows = _filter(canvas, policy.size, top, height, policy.vertical_flip, draw["vertical_flip"])
    columns = _filter(canvas, policy.size, left, width, policy.horizontal_flip, draw["horizontal_flip"])
    return geometry.scaled(geometry.resample(images, rows, columns), spec)  # weights sum to 1 up to a last bit


def _filter(canvas: int, size: int, start: Tensor, length: Tensor, flip: Operation | None, number: Tensor) -> Tensor:
    """Return the filter (N, S, C) of one axis; a flip reverses the output pixels."""
    positions = torch.arange(size, device=start.device, dtype=torch.float32).expand(start.shape[0], size)
    if flip:
        positions = torch.where((number < flip.p)[:, None], size - 1 - positions, positions)
    return geometry.triangle_filter(canvas, start, length, positions, torch.full_like(start, float(size)))


def _rotate(views: Tensor, rotation: Rotation, draw: Draw) -> Tensor:
    angle = between(draw["rotation.angle"], -rotation.degrees, rotation.degrees)
    return torch.where(_each(draw["rotation"] < rotation.p), geometry.rotate(views, angle), views)


def _jitter(views: Tensor, jitter: ColorJitter, draw: Draw, spec: ImageSpec) -> Tensor:
    chosen = draw["color_jitter"] < jitter.p

    def factor(name: str, strength: float) -> Tensor:
        return torch.where(chosen, between(draw[f"color_jitter.{name}"], 1 - strength, 1 + strength), 1.0)

    if jitter.brightness:
        views = colour.brightness(views, factor("brightness", jitter.brightness))
    if jitter.contrast:
        views = colour.contrast(views, factor("contrast", jitter.contrast), spec.is_rgb)
    if jitter.saturation:
        strengths = factor("saturation", jitter.saturation)
        views = _on_rgb(views, spec, lambda colours: colour.saturation(colours, strengths))
    if jitter.hue:
        shift = torch.where(chosen, between(draw["color_jitter.hue"], -jitter.hue, jitter.hue), 0.0)
        views = _on_rgb(views, spec, lambda colours: colour.hue(colours, shift))
    return views


def _on_rgb(views: Tensor, spec: ImageSpec, operation: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply an operation on RGB (N, 3, S, S) to the red, green and blue channels; the others do not change."""
    if spec.is_rgb:
        return operation(views)
    assert spec.rgb is not None, "refused when the maker was built"
    channels = list(views.unbind(1))
    changed = operation(torch.stack([channels[number] for number in spec.rgb], 1))
    for number, channel in zip(spec.rgb, changed.unbind(1), strict=True):
        channels[number] = channel
    return torch.stack(channels, 1)


def _blur(views: Tensor, blur: GaussianBlur, draw: Draw) -> Tensor:
    sigma = between(draw["gaussian_blur.sigma"], *blur.sigma)
    radius = noise.blur_radius(blur.sigma[1], views.shape[-1])
    return noise.gaussian_blur(views, sigma, draw["gaussian_blur"] < blur.p, radius)


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]
