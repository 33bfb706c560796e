"""Exported backbone as a function from NumPy images to embeddings, and text tower as one from texts to embeddings.

This module needs numpy and onnxruntime, and tokenizers for texts. It imports neither torch nor any training code.
"""

import functools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.image_spec import ImageSpec, Pixels
from ssl_pipeline.deployment.execution import Provider
from ssl_pipeline.deployment.runtime import images_of, open_session, read_metadata, run
from ssl_pipeline.deployment.very_wide import MAX_MEGAPIXELS, too_wide
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import sha256_once
from ssl_pipeline.terminal import brief, shown
from ssl_pipeline.text_runtime import TextTower

__all__ = ["Backbone", "TextTower", "resizing_pixels"]

_BATCH_PIXELS = {"CPUExecutionProvider": 2**18, "OpenVINOExecutionProvider": 2**18, "CUDAExecutionProvider": 2**22}
"""Maximum number of pixels per batch, unless a single image has more. The graph needs about 40 bytes per pixel. On a
CPU, a batch that fits into the caches is a third faster than one that is sixteen times as large."""
_BATCH_IMAGES = 256


def resizing_pixels(height: int, width: int, size: int) -> int:
    """Return the number of pixels that a graph holds in memory while it resizes an image to a square of `size` px.

    The graph resizes rows before columns. Therefore it holds `size` x `width` pixels for an image whose height is less
    than `size`, however few pixels the image has.
    """
    return max(max(height, size) * width, size**2)


class Backbone:
    """Backbone written by the stage export, or another graph that maps each image to a row.

    Several threads may call an instance at once. Images of the same size are embedded together, in batches whose memory
    is bounded by the number of pixels, not of images. An image whose height is less than `size` counts as having that
    height: 1 x 1,000,000 px take as much memory as `size` x 1,000,000 px.

    Args:
        path: Path of `backbone.onnx` or `backbone_maps.onnx`.
        threads: Number of CPU threads per call; None leaves the choice to onnxruntime.
        output: Name of the graph's output; "energy" for an `energy.onnx` of single images.
        provider: Execution provider of onnxruntime: "cpu", "cuda" or "openvino"; "auto" uses CUDA if it works, and the
            CPU otherwise.
        max_megapixels: Bound on the width of images whose height is less than 4 x `size`, in megapixels, greater than
            0. Their width may be up to a quarter of the bound / `size`, or 8.4 megapixels / `size` if that is more.
            None accepts any width.

    Attributes:
        path: Path of the file.
        provider: Execution provider in use, as onnxruntime names it, such as CUDAExecutionProvider.
        images: Specification of the images that the graph takes: channels, type, scale, and the mark of unmeasured
            pixels.
        size: Side in px of the square to which the graph resizes images.
        dim: Length of an embedding; 0 if a row is a single number.
        map_shapes: Name of a feature map -> its channels, height and width; empty unless the file has feature maps.
        metadata: All metadata of the file: strings unchanged, other values parsed from JSON.

    Raises:
        PipelineError: The file is missing, onnxruntime cannot run it, it is not such a graph, or the provider does not
            work on this machine; the message says what to install.

    Examples:
        >>> from ssl_pipeline.runtime import Backbone
        >>> backbone = Backbone("models/export/backbone.onnx")  # doctest: +SKIP
        >>> backbone([photo, another]).shape  # doctest: +SKIP
        (2, 256)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int | None = None,
        output: str = "embedding",
        provider: Provider = "auto",
        max_megapixels: float | None = MAX_MEGAPIXELS,
    ):
        self.path, self._max_megapixels = Path(path), max_megapixels
        self._session = open_session(self.path, threads, patient=True, provider=provider)
        self.provider = self._session.get_providers()[0]
        self.metadata = read_metadata(self._session)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        names = [[node.name for node in nodes] for nodes in (inputs, outputs)]
        maps = [name for name in names[1][1:] if name.startswith("map_")]
        if names != [["images"], [output, *maps]]:
            raise PipelineError(
                f"{shown(str(path), 200)} maps {shown(', '.join(names[0]), 100)} to "
                f"{shown(', '.join(names[1]), 100)}, but a graph from images to {output} is needed. Name "
                f"{_WANTED.get(output, 'another file')} of this pipeline."
            )
        self.images, self.size = _described(self.metadata, path)
        length = outputs[0].shape[1] if len(outputs[0].shape) > 1 else 0
        if not isinstance(length, int):
            raise PipelineError(
                f"{shown(str(path), 200)} does not state the length of its {output} (found {shown(str(length), 100)}). "
                "Export the model again with a fixed length."
            )
        self.dim = length
        self.map_shapes: dict[str, tuple[int, ...]] = {node.name: tuple(node.shape[1:]) for node in outputs[1:]}

    @functools.cached_property
    def thresholds(self) -> dict[str, dict[str, Any]]:
        """Cosines from which two images are the same or near-duplicates, or below which an image is novel.

        The keys are `same_image`, `near_duplicate` and `novel`, as far as the stage export could determine them; each
        value has a `cosine` and rates of errors. `ssl_pipeline.curation.thresholds` explains how they are found.
        """
        found: dict[str, dict[str, Any]] = json.loads(self.metadata.get("thresholds", "{}"))
        return found

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, in hex."""
        return sha256_once(self.path)

    def __call__(self, images: Sequence[Pixels] | Pixels) -> npt.NDArray[np.float32]:
        """Embed images.

        Args:
            images: Images (H, W, C) of any size, with the model's channels and type, or an array (N, H, W, C).

        Returns:
            float32 array (N, dim), one row per image; rows have unit norm unless `export.l2_normalize` was off.

        Raises:
            PipelineError: An image has other channels or another type, or is too wide for its height; the message names
                its number and what the model takes.
        """
        self._check_all(images)
        if len(images) == 0:
            return run(self._session, np.empty((0, 1, 1, self.images.channels), self.images.numpy_dtype))
        found = np.empty((len(images), self.dim) if self.dim else len(images), np.float32)
        for batch in self._batches(images):
            found[batch] = run(self._session, np.stack([images[place] for place in batch]), batch_size=len(batch))
        return found

    def maps(self, images: Sequence[Pixels] | Pixels) -> dict[str, npt.NDArray[np.float32]]:
        """Return the feature maps of images, computed by `backbone_maps.onnx`.

        Args:
            images: Images, as for embeddings.

        Returns:
            Name of a map, such as map_3 -> float32 array (N, C, h, w), all in memory; `map_shapes` has C, h and w, and
            `maps` in the metadata describes the maps.

        Raises:
            PipelineError: The file has no maps, or refuses an image.
        """
        if not self.map_shapes:
            raise PipelineError(
                f"{shown(str(self.path), 200)} returns no feature maps. Export with `export.outputs: [embedding, "
                "maps]`, and name backbone_maps.onnx."
            )
        self._check_all(images)
        found = {name: np.empty((len(images), *shape), np.float32) for name, shape in self.map_shapes.items()}
        for batch in self._batches(images):
            answers = self._session.run([*found], {"images": np.stack([images[place] for place in batch])})
            for maps, answer in zip(found.values(), answers, strict=True):
                maps[batch] = answer
        return found

    def check(self, image: Pixels, name: str) -> None:
        """Refuse an image that the model does not take.

        Args:
            image: Image (H, W, C).
            name: Name of the image, for the message.

        Raises:
            PipelineError: The image has another shape or type, or is too wide for its height.
        """
        wanted, shape = self.images, getattr(image, "shape", None)
        if shape is None:
            raise PipelineError(f"{name} is of type {type(image).__name__}, but the model expects arrays: {wanted}.")
        if len(shape) != 3 or shape[2] != wanted.channels or image.dtype != wanted.dtype or 0 in shape:
            raise PipelineError(f"{name} is {image.dtype} {shape}, but the model expects {wanted}: (H, W, C).")
        bound = self._max_megapixels
        if bound is not None and (reason := too_wide(shape[0], shape[1], self.size, bound)):
            raise PipelineError(f"{name} cannot be embedded: {reason}.")

    def _check_all(self, images: Sequence[Pixels] | Pixels) -> None:
        for number, image in enumerate(images):
            self.check(image, f"images[{number}]")

    def _batches(self, images: Sequence[Pixels] | Pixels) -> Iterator[list[int]]:
        """Yield the positions of images to embed together: of one shape, with a bounded number of pixels."""
        places: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(images):
            places.setdefault(image.shape, []).append(place)
        pixels = _BATCH_PIXELS[self.provider]
        for (height, width, _), mine in places.items():
            most = min(_BATCH_IMAGES, max(1, pixels // resizing_pixels(height, width, self.size)))
            yield from (mine[start : start + most] for start in range(0, len(mine), most))


_WANTED = {"embedding": "a backbone.onnx", "energy": "an energy.onnx of single images, as `denoise` has it,"}
"""Output -> description of the file that has it, for messages."""


def _described(metadata: dict[str, str], path: object) -> tuple[ImageSpec, int]:
    """Return the specification of a graph's images, and the side to which it resizes them."""
    try:
        return images_of(metadata), int(metadata["size"])
    except (KeyError, ValueError, TypeError) as error:
        raise PipelineError(
            f"{shown(str(path), 200)} does not state which images it takes ({brief(repr(error))}), so it was not "
            "written by the stage export. Name a file that export wrote."
        ) from error
