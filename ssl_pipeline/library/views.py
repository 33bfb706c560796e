"""Random views of images, made by a policy, for your own training loops."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from ssl_pipeline.artifacts.assembly import needed_views
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.config import Size
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.identity import content_hash
from ssl_pipeline.data.image_spec import RGB8, ImageSpec, Pixels
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.library.images import read_image
from ssl_pipeline.loading import load_registry
from ssl_pipeline.operations import build_operations
from ssl_pipeline.recipes import said_by
from ssl_pipeline.registry import Registry
from ssl_pipeline.validation import explain

__all__ = ["Views"]

PolicyLike = str | Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""The name of a recipe, a policy as in params.yaml, or a list of policies, one per view."""

_AS_IT_IS = Canvas(8, "squash", (255, 255, 255), 1, 1e6)


class Views:
    """A maker of random views of images, equal to those of pretraining.

    The views of an image depend only on the seed, the epoch and the image. On a CPU, neither the batch nor the number
    of workers changes a bit of them, and equal images have equal views. Call an instance on a batch in a loop, or pass
    it to a torchvision data set as its `transform`; a `DataLoader` then stacks the views to (N, V, C, S, S).

    Args:
        policy: A policy as in params.yaml (`augment.views.global`), a list of policies, one per view, or the name of a
            recipe, whose views are used.
        count: V, the number of views per image; None: as many as the recipe's pretext task learns from, or as there are
            policies in the list, or 2.
        kind: The kind of view, such as "local" for a recipe with local views; None: the main kind.
        seed: The seed of the views, at least 0.
        recipe_size: The size of the recipe, "small" or "paper".

    Raises:
        ConfigError: The recipe, kind of view or operation does not exist, or a value is out of range.

    Attributes:
        policy: The checked policy.
        epoch: The number of the epoch, from 0; `set_epoch` changes it.

    Examples:
        >>> views = Views({"size": 16, "horizontal_flip": {"p": 0.5}})
        >>> images = torch.randint(256, (4, 20, 24, 3), dtype=torch.uint8)
        >>> views(images).shape, views(images[0]).shape
        (torch.Size([4, 2, 3, 16, 16]), torch.Size([2, 3, 16, 16]))
        >>> torch.equal(views(images)[1:], views(images[1:]))
        True
    """

    def __init__(
        self,
        policy: PolicyLike,
        *,
        count: int | None = None,
        kind: str | None = None,
        seed: int = 0,
        recipe_size: Size = "small",
    ):
        if (count is not None and count < 1) or seed < 0:
            raise ConfigError(f"count must be at least 1 and seed at least 0, got {count} and {seed}.")
        registry, self._of_recipe = load_registry(), isinstance(policy, str)
        if isinstance(policy, str):
            self.kind, said, own_count = _of_recipe(registry, policy, kind, recipe_size)
        else:
            self.kind, said = kind or "global", _checked(policy)
            own_count = max(2, len(said.each))
        self.policy = build_operations(registry, {self.kind: said})[self.kind]
        self.count, self.seed, self.epoch = count or own_count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Make different views of each image from now on, as in another epoch of training.

        The workers of a `DataLoader` hold a copy of this object. Call this method before each new iteration over the
        loader, and do not use `persistent_workers`.
        """
        self.epoch = epoch

    def __call__(
        self,
        images: Tensor | Pixels | Image.Image,
        ids: Tensor | npt.NDArray[np.integer[Any]] | None = None,
    ) -> Tensor:
        """Return views of a batch of images, or of one image.

        Args:
            images: Images uint8 (N, H, W, C), on any device, or one image, as an array (H, W, C) or a Pillow image. If
                they are not square, the largest centred square is used, as with `ingest.resize: crop`.
            ids: Numbers (N,) that identify the images; None: hashes of their content.

        Returns:
            (N, V, C, S, S) float32 in [0, 1], on the device of the images; (V, C, S, S) for one image.

        Raises:
            ValueError: The images have another type or shape.
            ConfigError: The policy changes colours, but the images have no red, green and blue channels.
        """
        batch, alone = _as_batch(images)
        if ids is None:
            ids = np.array([_identity(image) for image in batch.numpy(force=True)], dtype=np.uint64)
        numbers = np.asarray(ids.numpy(force=True) if isinstance(ids, Tensor) else ids).astype(np.uint64)
        if numbers.shape != batch.shape[:1]:
            raise ValueError(f"ids must have shape ({len(batch)},), one per image, got {numbers.shape}")
        spec = RGB8 if batch.shape[3] == 3 else ImageSpec(channels=batch.shape[3], dtype="uint8", low=0, high=255)
        policies = {self.kind: self._fitted(spec)}
        made = make_views(policies, {self.kind: self.count}, _square(batch), numbers, self.seed, self.epoch, spec)
        return made[self.kind][0] if alone else made[self.kind]

    def _fitted(self, spec: ImageSpec) -> Policy:
        """Return the policy for images of a spec; without colours, a recipe's operations on colours are left out."""
        if spec.rgb is not None or not (names := self.policy.on_colours()):
            return self.policy
        if self._of_recipe:
            return self.policy.without_colours()
        raise ConfigError(
            f"{', '.join(names)}: images with {spec.channels} channels have no red, green and blue. Remove these "
            "operations from the policy, or give images with 3 channels."
        )


def _of_recipe(registry: Registry, name: str, kind: str | None, size: Size) -> tuple[str, Policy, int]:
    """Return a kind of view of a recipe, its policy, and the number of such views that the pretext task needs."""
    parts, settings = said_by(registry, name, size)
    needs = needed_views(registry, parts["pretext_task"])
    kind = kind or needs.main
    if kind not in settings.views:
        known = ", ".join(settings.views) or "none"
        raise ConfigError(
            f"recipe '{name}' in the size '{size}' has no views of kind '{kind}' (it has: {known}). Choose one of "
            "these kinds, or pass a policy instead of a recipe."
        )
    return kind, settings.views[kind], needs.counts.get(kind, 1)


def _checked(policy: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Policy:
    written = dict(policy) if isinstance(policy, Mapping) else [dict(each) for each in policy]
    try:
        return Policy.model_validate(written)
    except ValidationError as error:
        raise ConfigError("\n".join(f"policy: {line}" for line in explain(error, Policy))) from error


def _as_batch(images: Tensor | Pixels | Image.Image) -> tuple[Tensor, bool]:
    """Return images (N, H, W, C), and whether a single image was passed."""
    if isinstance(images, Image.Image):
        images = read_image(images, _AS_IT_IS, "the image")
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        found = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images must be uint8 (N, H, W, C), or (H, W, C) for one image, got {found}")
    if images.shape[-3] in (1, 3, 4) and images.shape[-1] not in (1, 3, 4):
        raise ValueError(f"images must have their channels last, (N, H, W, C), got {tuple(images.shape)}")
    return (images[None], True) if images.ndim == 3 else (images, False)


def _identity(image: Pixels) -> int:
    """Return the id that the store gives an image with these pixels."""
    return int.from_bytes(content_hash(image)[:8], "big")


def _square(images: Tensor) -> Tensor:
    """Return the largest centred squares of images (N, H, W, C)."""
    height, width = images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, top : top + side, left : left + side].contiguous()
