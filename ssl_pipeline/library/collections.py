"""Images that `ssl_pipeline.pretrain` is given: a path, a source by its name, an array, or a data set of torch."""

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
    """Images, and what tells them from others.

    Attributes:
        open: Returns the images, without their labels.
        key: A digest that changes with them; "" where nobody knows without reading them all.
    """

    open: Callable[[], Images]
    key: str


def find_images(images: Any, registry: Registry, as_is: bool, hashes: Path) -> FoundImages:
    """Return the images that are meant; labels are left out, and named test and validation images stay what they are.

    Args:
        images: What `ssl_pipeline.pretrain` was given.
        registry: The registry that knows the sources.
        as_is: Whether images keep their channels and type.
        hashes: The file that remembers hashes of the source's files.

    Raises:
        PipelineError: They are not there, or are no images.
    """
    if isinstance(images, str | os.PathLike | Mapping):
        choice = _source_of(images, registry)
        source: Source = registry.build("source", choice, "images")
        if source.downloads:
            source.open()
        said = choice.model_dump(mode="json")
        return FoundImages(lambda: _without_labels(source.open()), digest(take(source, said, hashes).model_dump()))
    if isinstance(images, np.ndarray | Tensor):
        array = images.numpy(force=True) if isinstance(images, Tensor) else images
        if array.ndim != 4:
            raise ConfigError(f"images is an array of {array.dtype} {array.shape}. Give (N, H, W, C).")
        content = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        return FoundImages(lambda: _of_items(array, as_is), digest([str(array.dtype), array.shape, content]))
    if not (hasattr(images, "__len__") and hasattr(images, "__getitem__")):
        raise ConfigError(f"images is of type {type(images).__name__}, without a length and places. {_GIVE}")
    return FoundImages(lambda: _of_items(images, as_is), "")


def _source_of(images: str | os.PathLike[str] | Mapping[str, Any], registry: Registry) -> Choice:
    if isinstance(images, Mapping):
        return Choice.model_validate(dict(images))
    names = [entry.name for entry in registry.entries() if getattr(entry.factory, "reads_paths", False)]
    path, name = Path(images).expanduser(), shown(str(images), 200)
    if not names:
        raise ConfigError(f"images: no source reads the path '{name}'. {_GIVE}")
    if not path.exists():
        raise PipelineError(f"images: there is no '{name}'. Give the path of a directory or of a .zip with images.")
    return Choice.model_validate({"name": names[0], "path": str(path)})


def _without_labels(images: Images) -> Images:
    return replace(images, records=[record._replace(label=None) for record in images.records])


def _of_items(items: Sequence[Any] | npt.NDArray[Any], as_is: bool) -> Images:
    """Return the items of a data set as images, each under its number."""
    if not len(items):
        raise PipelineError("images is empty: give at least 2 images.")
    records = [Record(f"{number:09}") for number in range(len(items))]
    return Images(records, partial(_read_item, items, as_is), portable=False)


def _read_item(items: Sequence[Any] | npt.NDArray[Any], as_is: bool, name: str, limit: int) -> bytes | Image.Image:
    """Read an item; `limit` is for files, and the data set has read those."""
    del limit
    where = f"images[{int(name)}]"
    item = items[int(name)]
    image = item[0] if isinstance(item, tuple | list) and item else item  # what follows is a label
    if isinstance(image, Image.Image):
        return image
    array = _pixels(image, as_is, where) if isinstance(image, Tensor) else image
    if not isinstance(array, np.ndarray):
        raise PipelineError(
            f"{where} is of type {type(image).__name__}. Items must be images (of Pillow, arrays (H, W, C) or tensors "
            "(C, H, W)), or tuples that begin with one."
        )
    if not as_is:
        if array.dtype in (np.uint16, np.float32):
            raise PipelineError(
                f'{where} is an array of {array.dtype}. Give pixels="as_is", which keeps images as they are, or 8 bits.'
            )
        return as_pillow(array, where)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise RejectedError("not supported", f"an array {array.shape}; it must be (H, W, C)")
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _pixels(image: Tensor, as_is: bool, where: str) -> npt.NDArray[Any]:
    """Return a tensor (C, H, W), as torchvision's are, as pixels (H, W, C); of floats in [0, 1] 8 bits are made."""
    last = image.movedim(0, -1) if image.ndim == 3 else image
    if as_is or not last.is_floating_point():
        pixels: npt.NDArray[Any] = last.numpy(force=True)
        return pixels
    low, high = (float(value) for value in torch.aminmax(last)) if last.numel() else (0.0, 1.0)
    if not 0 <= low <= high <= 1:
        raise PipelineError(
            f"{where} has values from {low:.3g} to {high:.3g}. Give floats in [0, 1], or 8 bits: leave out what "
            "normalises them, as the encoder does that itself."
        )
    whole: npt.NDArray[Any] = last.mul(255).round().to(torch.uint8).numpy(force=True)
    return whole
