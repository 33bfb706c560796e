"""Views: every operation of a policy as one pure function of images and random numbers.

The order is that of `Policy`, and the same for all views: geometry first, so that all that follows works on the view's
few pixels; colour before blur, which would otherwise see edges that clamping made; noise last, as a sensor adds it, so
that nothing smooths or inverts it. Brightness, contrast, saturation and hue follow each other in this order
(torchvision shuffles them: they nearly commute, and a graph would have to compute all four at each of four places).
Operations of plugins come after all of these, in the order of their names.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ssl_pipeline import randomness
from ssl_pipeline.augment import colour, geometry, noise
from ssl_pipeline.augment.policy import ColorJitter, GaussianBlur, Operation, Policy, RandomResizedCrop, Rotation
from ssl_pipeline.augment.view_operation import ViewOperation
from ssl_pipeline.data.image_spec import RGB8, ImageSpec

Draw = Mapping[str, Tensor]
"""Parameter -> (N,) numbers in [0, 1)."""

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
other's numbers; a bare name is the choice whether a view receives the operation: it does if the number is below p.
Columns of plugins' operations follow: for each its choice, then its own numbers, hashed under its own name."""

CHOICES = tuple(number for number, name in enumerate(PARAMETERS) if "." not in name)
"""The columns that are choices."""

_CHUNK_VALUES = 2**18
"""Values of the views that are made at a time: a megabyte, so that they stay in a CPU's cache between operations."""


class ViewMaker(nn.Module):
    """Makes one view. The policy's values are constants of the module, and what it leaves out costs nothing.

    Args:
        policy: The view's policy; those of further views are not looked at.
        spec: What the images' values mean; operations that need colours act on red, green and blue alone.

    Raises:
        ValueError: The policy has operations on colours, and nobody knows which channels are red, green and blue.

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
        widths = [1 + operation.built.uniforms for operation in self.plugins.values()]
        starts = [len(PARAMETERS) + sum(widths[:number]) for number in range(len(widths))]
        self.columns = {name: slice(a, a + n) for name, a, n in zip(self.plugins, starts, widths, strict=True)}

    @property
    def parameters_of_views(self) -> tuple[str, ...]:
        """What each of the P columns of the uniforms decides; an operation's own numbers count from 0."""
        own = {name: range(columns.stop - columns.start - 1) for name, columns in self.columns.items()}
        return (*PARAMETERS, *(part for name in own for part in (name, *(f"{name}.{i}" for i in own[name]))))

    @property
    def choices(self) -> list[int]:
        """The columns that decide whether a view receives an operation."""
        return [*CHOICES, *(columns.start for columns in self.columns.values())]

    @property
    def parameter_count(self) -> int:
        """P, how many uniforms a view needs."""
        return len(self.parameters_of_views)

    @property
    def needs_noise(self) -> bool:
        """Whether `forward` wants normal numbers."""
        return self.policy.gaussian_noise is not None

    def forward(self, images: Tensor, uniforms: Tensor, normals: Tensor | None = None) -> Tensor:
        """Make one view of each image.

        Args:
            images: (N, S, S, C) canvases of the type that the spec names.
            uniforms: (N, P) float32 numbers in [0, 1), a column for each of `parameters_of_views`.
            normals: (N, C, S, S) float32, standard normal, if `needs_noise`; zeros do for views that receive no noise.

        Returns:
            (N, C, S, S) float32 in [0, 1].
        """
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
    (top, height), (left, width) = _box(canvas, policy.random_resized_crop, draw)
    rows = _filter(canvas, policy.size, top, height, policy.vertical_flip, draw["vertical_flip"])
    columns = _filter(canvas, policy.size, left, width, policy.horizontal_flip, draw["horizontal_flip"])
    return geometry.scaled(geometry.resample(images, rows, columns), spec)  # weights sum to 1 but for a last bit


def _box(
    canvas: int, crop: RandomResizedCrop | None, draw: Draw
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return what is cropped, as (top, height), (left, width), each (N,), in pixels and fractions of them.

    Where a box would be wider or higher than the canvas, that side is cut to it. (torchvision draws again, up to ten
    times, which is no function of a fixed number of uniforms.) Boxes are not rounded to whole pixels: a small canvas
    has few such boxes, and runtimes that differ in a last bit would now and then round to different ones.
    """
    whole = torch.full_like(draw["random_resized_crop"], float(canvas))
    if crop is None:
        return (torch.zeros_like(whole), whole), (torch.zeros_like(whole), whole)
    chosen = draw["random_resized_crop"] < crop.p
    area = _between(draw["random_resized_crop.area"], *crop.scale) * canvas**2
    ratio = _between(draw["random_resized_crop.ratio"], *(math.log(limit) for limit in crop.ratio)).exp()
    height = torch.where(chosen, (area / ratio).sqrt().clamp(1, canvas), whole)
    width = torch.where(chosen, (area * ratio).sqrt().clamp(1, canvas), whole)
    top = draw["random_resized_crop.top"] * (canvas - height)
    left = draw["random_resized_crop.left"] * (canvas - width)
    return (top, height), (left, width)


def _filter(canvas: int, size: int, start: Tensor, length: Tensor, flip: Operation | None, number: Tensor) -> Tensor:
    """Return the filter (N, S, C) of one axis; a flip asks for its output pixels in reverse."""
    positions = torch.arange(size, device=start.device, dtype=torch.float32).expand(start.shape[0], size)
    if flip:
        positions = torch.where((number < flip.p)[:, None], size - 1 - positions, positions)
    return geometry.triangle_filter(canvas, start, length, positions, torch.full_like(start, float(size)))


def _rotate(views: Tensor, rotation: Rotation, draw: Draw) -> Tensor:
    angle = _between(draw["rotation.angle"], -rotation.degrees, rotation.degrees)
    return torch.where(_each(draw["rotation"] < rotation.p), geometry.rotate(views, angle), views)


def _jitter(views: Tensor, jitter: ColorJitter, draw: Draw, spec: ImageSpec) -> Tensor:
    chosen = draw["color_jitter"] < jitter.p

    def factor(name: str, strength: float) -> Tensor:
        return torch.where(chosen, _between(draw[f"color_jitter.{name}"], 1 - strength, 1 + strength), 1.0)

    if jitter.brightness:
        views = colour.brightness(views, factor("brightness", jitter.brightness))
    if jitter.contrast:
        views = colour.contrast(views, factor("contrast", jitter.contrast), spec.is_rgb)
    if jitter.saturation:
        strengths = factor("saturation", jitter.saturation)
        views = _on_rgb(views, spec, lambda colours: colour.saturation(colours, strengths))
    if jitter.hue:
        shift = torch.where(chosen, _between(draw["color_jitter.hue"], -jitter.hue, jitter.hue), 0.0)
        views = _on_rgb(views, spec, lambda colours: colour.hue(colours, shift))
    return views


def _on_rgb(views: Tensor, spec: ImageSpec, operation: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply an operation on RGB (N, 3, S, S) to the channels that are; the others stay as they are."""
    if spec.is_rgb:
        return operation(views)
    assert spec.rgb is not None, "refused when the maker was built"
    channels = list(views.unbind(1))
    changed = operation(torch.stack([channels[number] for number in spec.rgb], 1))
    for number, channel in zip(spec.rgb, changed.unbind(1), strict=True):
        channels[number] = channel
    return torch.stack(channels, 1)


def _blur(views: Tensor, blur: GaussianBlur, draw: Draw) -> Tensor:
    sigma = _between(draw["gaussian_blur.sigma"], *blur.sigma)
    radius = noise.blur_radius(blur.sigma[1], views.shape[-1])
    return noise.gaussian_blur(views, sigma, draw["gaussian_blur"] < blur.p, radius)


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * uniform


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def make_views(
    policies: Mapping[str, Policy],
    counts: Mapping[str, int],
    images: Tensor,
    ids: npt.NDArray[np.uint64],
    seed: int,
    epoch: int,
    spec: ImageSpec = RGB8,
) -> dict[str, Tensor]:
    """Make all views that a pretext task asks for; on a CPU a sample's are the same in every batch, to the bit.

    Args:
        policies: Kind -> policy.
        counts: Kind -> V, how many views of it a sample needs.
        images: (N, S, S, C) canvases, on the device on which to compute.
        ids: (N,) identities of the samples.
        seed: The run's seed.
        epoch: The epoch, from 0.
        spec: What the images' values mean.

    Returns:
        Kind -> (N, V, C, S, S) float32 in [0, 1].

    Raises:
        ValueError: The images are not what the spec says, or a policy needs colours that they do not have.
    """
    if images.shape[3] != spec.channels or images.dtype != getattr(torch, spec.dtype):
        raise ValueError(f"images {tuple(images.shape)} of {images.dtype} are not {spec}")
    made = {}
    # Mixed precision is for networks: bfloat16 would cost a crop two grey levels
    with torch.autocast(images.device.type, enabled=False):
        for kind, count in counts.items():
            makers = [ViewMaker(policies[kind].of_view(i), spec).to(images.device) for i in range(count)]
            size = policies[kind].size
            views = torch.empty(len(ids), count, spec.channels, size, size, device=images.device)
            chunk = max(1, _CHUNK_VALUES // (spec.channels * max(size, images.shape[1]) ** 2))
            for start in range(0, len(ids), chunk):
                part = slice(start, start + chunk)
                for i, maker in enumerate(makers):
                    numbers = _numbers(maker, seed, epoch, ids[part], f"{kind}/{i}")
                    views[part, i] = maker(images[part], *(array.to(images.device) for array in numbers))
            made[kind] = views
    return made


def _numbers(maker: ViewMaker, seed: int, epoch: int, ids: npt.NDArray[np.uint64], view: str) -> Iterator[Tensor]:
    """Return what one view of each sample is made from: uniforms (N, P), and normals (N, C, S, S) if there is noise."""
    uniforms = randomness.uniforms(seed, epoch, ids, view, len(PARAMETERS))
    own = [
        randomness.uniforms(seed, epoch, ids, f"{view}/{name}", columns.stop - columns.start)
        for name, columns in maker.columns.items()
    ]
    yield torch.from_numpy(np.concatenate([uniforms, *own], axis=1))
    if noisy := maker.policy.gaussian_noise:
        # Normal numbers take long to draw: only the views that receive noise get any
        chosen = uniforms[:, PARAMETERS.index("gaussian_noise")] < np.float32(noisy.p)
        shape = (maker.spec.channels, maker.policy.size, maker.policy.size)
        normals = np.zeros((len(ids), *shape), dtype=np.float32)
        normals[chosen] = randomness.normals(seed, epoch, ids[chosen], view, shape)
        yield torch.from_numpy(normals)
