"""The images passed to `ssl_pipeline.pretrain`: a path, a registered source, an array or a torch data set."""

import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ssl_pipeline.config import Choice
from ssl_pipeline.data.inventory import take
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.source import Images, Source
from ssl_pipeline.data.source_contract import open_images
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.library.images import as_pillow
from ssl_pipeline.products import digest
from ssl_pipeline.registry import Registry
from ssl_pipeline.terminal import shown

__all__ = ["FoundImages", "find_images"]

_GIVE = (
    "Give the path of a directory or an archive, a source as in ingest.source, an array (N, H, W, C), or a "
    "torch.utils.data.Dataset of images."
)


class FoundImages(NamedTuple):
    """Images to learn from, with a key that identifies them.

    Attributes:
        open: Function that returns the images, without their labels.
        key: Digest that changes when the images do; "" if they would all have to be read to compute it.
    """

    open: Callable[[], Images]
    key: str


def find_images(images: Any, registry: Registry, as_is: bool, hashes: Path) -> FoundImages:
    """Find the images; labels are dropped, but images that a source assigns to test or validation stay there.

    Args:
        images: Argument `images` of `ssl_pipeline.pretrain`.
        registry: The registry that knows the sources.
        as_is: Whether images keep their channels and type.
        hashes: File that caches the hashes of the source's files.

    Raises:
        ConfigError: The argument has the wrong type or shape, or describes a source that cannot be built.
        PipelineError: The images do not exist.
    """
    if isinstance(images, str | os.PathLike | Mapping):
        choice = _source_of(images, registry)
        source: Source = registry.build("source", choice, "images")
        if source.downloads:
            source.open()
        said = choice.model_dump(mode="json")
        key = digest(take(source, said, hashes).model_dump())
        return FoundImages(lambda: _without_labels(open_images(source)), key)
    if isinstance(images, np.ndarray | Tensor):
        array = images.numpy(force=True) if isinstance(images, Tensor) else images
        if array.ndim != 4:
            raise ConfigError(f"images is an array of {array.dtype} {array.shape}. Give (N, H, W, C).")
        content = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        return FoundImages(lambda: _of_items(array, as_is), digest([str(array.dtype), array.shape, content]))
    if not (hasattr(images, "__len__") and hasattr(images, "__getitem__")):
        raise ConfigError(f"images is of type {type(images).__name__}, which has no length or no indexing. {_GIVE}")
    return FoundImages(lambda: _of_items(images, as_is), "")


def _source_of(images: str | os.PathLike[str] | Mapping[str, Any], registry: Registry) -> Choice:
    if isinstance(images, Mapping):
        return Choice.model_validate(dict(images))
    names = [entry.name for entry in registry.entries() if getattr(entry.factory, "reads_paths", False)]
    path, name = Path(images).expanduser(), shown(str(images), 200)
    if not names:
        raise ConfigError(f"images: no registered source can read the path '{name}'. {_GIVE}")
    if not path.exists():
        raise PipelineError(f"images: '{name}' does not exist. Give the path of a directory or .zip file of images.")
    return Choice.model_validate({"name": names[0], "path": str(path)})


def _without_labels(images: Images) -> Images:
    return replace(images, records=[record._replace(label=None) for record in images.records])


def _of_items(items: Sequence[Any] | npt.NDArray[Any], as_is: bool) -> Images:
    """Return the items of a data set as images, each named by its index."""
    if not len(items):
        raise PipelineError("images is empty: give at least 2 images.")
    records = [Record(f"{number:09}") for number in range(len(items))]
    return Images(records, partial(_read_item, items, as_is), portable=False)


def _read_item(items: Sequence[Any] | npt.NDArray[Any], as_is: bool, name: str, limit: int) -> bytes | Image.Image:
    """Read an item; `limit` bounds the size of files and does not apply, as the data set does the reading."""
    del limit
    where = f"images[{int(name)}]"
    item = items[int(name)]
    image = item[0] if isinstance(item, tuple | list) and item else item  # drop the label
    if isinstance(image, Image.Image):
        return image
    array = _pixels(image, as_is, where) if isinstance(image, Tensor) else image
    if not isinstance(array, np.ndarray):
        raise PipelineError(
            f"{where} is of type {type(image).__name__}. Each item must be an image (a Pillow image, an array "
            "(H, W, C) or a tensor (C, H, W)) or a tuple that begins with one."
        )
    if not as_is:
        if array.dtype in (np.uint16, np.float32):
            raise PipelineError(
                f'{where} is an array of {array.dtype}. Pass pixels="as_is" to keep its values, or give 8-bit images.'
            )
        return as_pillow(array, where)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise RejectedError("not supported", f"an array of shape {array.shape}; it must be (H, W, C)")
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _pixels(image: Tensor, as_is: bool, where: str) -> npt.NDArray[Any]:
    """Convert a tensor (C, H, W), torchvision's layout, to pixels (H, W, C); floats in [0, 1] become 8 bits."""
    last = image.movedim(0, -1) if image.ndim == 3 else image
    if as_is or not last.is_floating_point():
        pixels: npt.NDArray[Any] = last.numpy(force=True)
        return pixels
    low, high = (float(value) for value in torch.aminmax(last)) if last.numel() else (0.0, 1.0)
    if not 0 <= low <= high <= 1:
        raise PipelineError(
            f"{where} has values from {low:.3g} to {high:.3g}. Give floats in [0, 1] or 8-bit images, without any "
            "normalisation: the encoder normalises them itself."
        )
    whole: npt.NDArray[Any] = last.mul(255).round().to(torch.uint8).numpy(force=True)
    return whole
