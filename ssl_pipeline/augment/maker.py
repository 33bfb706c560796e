"""The maker of the views of one policy: each operation works in place, on those images only that drew it.

All random choices are made at once for all images, on the CPU, so that no device has to be waited for. Then a few
images at a time pass through all operations, so that they stay in the cache of a CPU.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ssl_pipeline.augment import geometry, in_place, noise
from ssl_pipeline.augment.draws import CHOICES, PARAMETERS, Draw, between, box, plugin_columns
from ssl_pipeline.augment.policy import ColorJitter, Operation, Policy
from ssl_pipeline.augment.view_operation import ViewOperation
from ssl_pipeline.data.image_spec import RGB8, ImageSpec

__all__ = ["ViewMaker"]

Change = Callable[[Tensor, Tensor], object]
"""A function that changes images (n, C, S, S) in place, given their numbers (n,) in the batch, on the CPU."""

Normals = Callable[[Tensor], Tensor]
"""A function from the numbers (n,) of images in the batch, on the CPU, to standard normal numbers (n, C, S, S)."""

CHUNK_VALUES = 2**18
"""Number of values of views that each thread of a CPU makes at a time: a megabyte, so that they stay in its cache."""

CHUNK_VALUES_OF_DEVICES = 2**26
"""The same for a GPU: enough to fill it."""


class ViewMaker(nn.Module):
    """A maker of one view per image. The policy's values are constants of the module; what it leaves out costs nothing.

    Args:
        policy: Policy of the view; the policies of further views are ignored.
        spec: Description of the images; operations that need colours act on red, green and blue only.

    Raises:
        ValueError: The policy has operations on colours, but it is not known which channels are red, green and blue.

    Examples:
        >>> maker = ViewMaker(Policy.model_validate({"size": 8, "horizontal_flip": {"p": 0.5}}))
        >>> canvases = torch.randint(256, (4, 16, 16, 3), dtype=torch.uint8)
        >>> maker(canvases, torch.rand(4, maker.parameter_count)).shape
        torch.Size([4, 3, 8, 8])
    """

    def __init__(self, policy: Policy, spec: ImageSpec = RGB8):
        super().__init__()
        self.policy, self.spec = policy.pruned(), spec
        if spec.rgb is None and (names := policy.each[0].on_colours()):
            raise ValueError(f"{', '.join(names)}: these images have no red, green and blue")
        self.plugins = self.policy.of_plugins
        self.operations = nn.ModuleList(operation.built for operation in self.plugins.values())
        self.columns = plugin_columns(self.policy)

    @property
    def parameters_of_views(self) -> tuple[str, ...]:
        """What each of the P columns of random numbers determines; an operation's own numbers are counted from 0."""
        own = {name: range(columns.stop - columns.start - 1) for name, columns in self.columns.items()}
        return (*PARAMETERS, *(part for name in own for part in (name, *(f"{name}.{i}" for i in own[name]))))

    @property
    def choices(self) -> list[int]:
        """Numbers of the columns that decide whether a view receives an operation."""
        return [*CHOICES, *(columns.start for columns in self.columns.values())]

    @property
    def parameter_count(self) -> int:
        """Number of random numbers that a view needs, P."""
        return len(self.parameters_of_views)

    @property
    def needs_noise(self) -> bool:
        """Whether `forward` needs normal numbers."""
        return self.policy.gaussian_noise is not None

    def forward(self, images: Tensor, uniforms: Tensor, normals: Tensor | None = None) -> Tensor:
        """Make one view of each image.

        Args:
            images: Canvases (N, S, S, C) of the type that the spec names.
            uniforms: Random numbers (N, P) float32 in [0, 1), a column for each of `parameters_of_views`.
            normals: Standard normal numbers (N, C, S, S) float32, if `needs_noise`; those of views that receive no
                noise are ignored.

        Returns:
            Views (N, C, S, S) float32 in [0, 1].
        """
        size = self.policy.size
        views = torch.empty(len(images), self.spec.channels, size, size, device=images.device)
        self.write(views, images, uniforms, None if normals is None else lambda numbers: normals[numbers])
        return views

    def write(self, views: Tensor, images: Tensor, uniforms: Tensor, normals: Normals | None = None) -> None:
        """Make one view of each image, in existing memory; a GPU is waited for only if the random numbers are on it.

        Args:
            views: Memory to write to, (N, C, S, S) float32.
            images: Canvases (N, S, S, C) of the type that the spec names, on the same device.
            uniforms: Random numbers (N, P) float32 in [0, 1), a column for each of `parameters_of_views`.
            normals: Function that returns standard normal numbers for the images that receive noise, if `needs_noise`.
        """
        uniforms, device = uniforms.cpu(), images.device
        draw = dict(zip(PARAMETERS, uniforms.unbind(1), strict=False))  # columns of plugins' operations follow
        taps = [_beside(part, views) for part in _taps(images.shape[1], self.policy, draw)]
        steps = [(chosen.numpy(), change) for chosen, change in self._steps(draw, uniforms, normals)]
        values = CHUNK_VALUES * torch.get_num_threads() if device.type == "cpu" else CHUNK_VALUES_OF_DEVICES
        chunk = max(1, values // (self.spec.channels * max(self.policy.size, images.shape[1]) ** 2))
        for start in range(0, len(images), chunk):
            part = slice(start, start + chunk)
            made = views[part]
            _place(made, images[part], self.spec, *(tap[part] for tap in taps))
            for chosen, change in steps:
                _change(made, np.flatnonzero(chosen[part]), start, change)

    def _steps(self, draw: Draw, uniforms: Tensor, normals: Normals | None) -> Iterator[tuple[Tensor, Change]]:
        """Yield which images (N,) receive an operation, and the operation, in the order of `Policy`."""
        policy = self.policy
        if rotation := policy.rotation:
            angles = between(draw["rotation.angle"], -rotation.degrees, rotation.degrees)
            yield (
                draw["rotation"] < rotation.p,
                lambda views, numbers: views.copy_(geometry.rotate(views, _of(angles, numbers, views))),
            )
        if jitter := policy.color_jitter:
            yield draw["color_jitter"] < jitter.p, self._jitter(jitter, draw)
        if grayscale := policy.grayscale:
            yield draw["grayscale"] < grayscale.p, lambda views, _: self._on_rgb(views, in_place.grayscale)
        if blur := policy.gaussian_blur:
            sigmas = between(draw["gaussian_blur.sigma"], *blur.sigma)
            rows, kernels = in_place.blur_taps(sigmas, noise.blur_radius(blur.sigma[1], policy.size), policy.size)
            yield (
                draw["gaussian_blur"] < blur.p,
                lambda views, numbers: in_place.blur(views, _beside(rows, views), _of(kernels, numbers, views)),
            )
        if solarize := policy.solarize:
            threshold = solarize.threshold
            yield draw["solarize"] < solarize.p, lambda views, _: in_place.solarize(views, threshold)
        if noisy := policy.gaussian_noise:
            assert normals is not None, "a policy with gaussian_noise needs normal numbers"
            std = noisy.std
            yield (
                draw["gaussian_noise"] < noisy.p,
                lambda views, numbers: in_place.gaussian_noise(views, _beside(normals(numbers), views), std),
            )
        for name, operation in self.plugins.items():
            own = uniforms[:, self.columns[name]]
            yield own[:, 0] < operation.p, self._of_plugin(operation.built, own[:, 1:])

    def _jitter(self, jitter: ColorJitter, draw: Draw) -> Change:
        brightness, contrast, saturation = (
            between(draw[f"color_jitter.{name}"], 1 - strength, 1 + strength)
            for name, strength in (
                ("brightness", jitter.brightness),
                ("contrast", jitter.contrast),
                ("saturation", jitter.saturation),
            )
        )
        mixtures = in_place.saturation_mixtures(saturation)
        opposites = in_place.hue_opposites(between(draw["color_jitter.hue"], -jitter.hue, jitter.hue))

        def change(views: Tensor, numbers: Tensor) -> None:
            if jitter.brightness:
                in_place.brightness(views, _of(brightness, numbers, views))
            if jitter.contrast:
                in_place.contrast(views, _of(contrast, numbers, views), self.spec.is_rgb)
            if jitter.saturation:
                mixed = _of(mixtures, numbers, views)
                self._on_rgb(views, lambda colours: in_place.saturation(colours, mixed))
            if jitter.hue:
                turned = _of(opposites, numbers, views)
                self._on_rgb(views, lambda colours: in_place.hue(colours, turned))

        return change

    def _of_plugin(self, operation: ViewOperation, uniforms: Tensor) -> Change:
        def change(views: Tensor, numbers: Tensor) -> None:
            own = _of(uniforms, numbers, views)

            def on_all(images: Tensor) -> object:
                return images.copy_(operation(images.clone(), own))

            if "rgb" in operation.needs:
                self._on_rgb(views, on_all)
            else:
                on_all(views)

        return change

    def _on_rgb(self, views: Tensor, change: Callable[[Tensor], object]) -> None:
        """Change the channels of views (n, C, S, S) that are red, green and blue, in this order."""
        if self.spec.is_rgb:
            change(views)
            return
        assert self.spec.rgb is not None, "refused when the maker was built"
        colours = torch.stack([views[:, number] for number in self.spec.rgb], 1)
        change(colours)
        for number, channel in zip(self.spec.rgb, colours.unbind(1), strict=True):
            views[:, number] = channel


def _change(views: Tensor, own: npt.NDArray[np.int64], start: int, change: Change) -> None:
    """Change the views, of (n, C, S, S), at the places `own`; the first view has the number `start` in the batch."""
    if not len(own):
        return
    places = torch.from_numpy(own)
    if len(own) == len(views):
        change(views, places + start)
        return
    on_device = _beside(places, views)
    chosen = views.index_select(0, on_device)
    change(chosen, places + start)
    views.index_copy_(0, on_device, chosen)


def _of(values: Tensor, numbers: Tensor, views: Tensor) -> Tensor:
    """Return the values of the images with these numbers, on the device of the views."""
    return _beside(values[numbers], views)


def _beside(values: Tensor, views: Tensor) -> Tensor:
    """Return the values on the device of the views, without waiting for it."""
    return values.to(views.device, non_blocking=True)


def _taps(canvas: int, policy: Policy, draw: Draw) -> Iterator[Tensor]:
    """Yield the rows that each row of a view is made of, their weights, and the same for columns: each (N, S, K)."""
    across = zip(box(canvas, policy.random_resized_crop, draw), ("vertical_flip", "horizontal_flip"), strict=True)
    for (start, length), name in across:
        flip: Operation | None = getattr(policy, name)
        positions = torch.arange(policy.size, dtype=torch.float32).expand(len(start), -1)
        if flip:
            positions = torch.where((draw[name] < flip.p)[:, None], policy.size - 1 - positions, positions)
        target = torch.full_like(start, float(policy.size))
        yield from geometry.triangle_taps(canvas, start, length, positions, target, canvas / policy.size)


def _place(
    views: Tensor, images: Tensor, spec: ImageSpec, rows: Tensor, row_weights: Tensor, columns: Tensor, weights: Tensor
) -> None:
    """Crop, resize and flip in one resampling."""
    n, height, width, channels = images.shape
    # Intermediate results have no names, so that their memory, which is in the cache, is reused at once
    small = geometry.combine_rows(
        geometry.combine_rows(images.to(torch.float32).reshape(n, 1, height, width * channels), rows, row_weights)
        .view(n, -1, width, channels)
        .permute(0, 3, 2, 1),
        columns,
        weights,
    )
    if spec.low:
        small.sub_(spec.low)
    torch.div(small.transpose(2, 3), spec.high - spec.low, out=views)
    views.clamp_(0, 1)  # weights sum to 1 up to a last bit
