"""A teacher's embeddings of the images of a batch: looked up, or computed in each step."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ssl_pipeline.data.image_spec import ImageSpec, Pixels
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.training.batches import on_device
from ssl_pipeline.types import Views

__all__ = ["AskedTargets", "KeptTargets", "TeacherTargets", "finite"]

Features = npt.NDArray[np.float32]


class TeacherTargets(ABC):
    """A teacher's embeddings, as a function of images and of the student's views of them."""

    @abstractmethod
    def of(self, rows: npt.NDArray[np.int64], views: Views) -> Tensor:
        """Return embeddings (N, T, D) float32, on the device of the views.

        Args:
            rows: Rows (N,) of the images in the pool.
            views: Kind of view -> views (N, V, C, S, S) of these images.
        """


class KeptTargets(TeacherTargets):
    """Embeddings of whole images, which were computed in advance.

    Args:
        features: Embeddings (n, D) of the pool's images, in memory or memory-mapped.
        mean: Mean (D,) to subtract from each embedding; 0: nothing is subtracted.
    """

    def __init__(self, features: Features, mean: Features | float = 0.0):
        self._features, self._mean = features, mean

    def of(self, rows: npt.NDArray[np.int64], views: Views) -> Tensor:
        """Return embeddings (N, 1, D)."""
        found = (self._features[rows] - self._mean).astype(np.float32, copy=False)
        return on_device(found[:, None], next(iter(views.values())).device)


class AskedTargets(TeacherTargets):
    """Embeddings of the student's views, which the teacher computes in each step.

    Args:
        embed: A function from canvases (n, S, S, C), of the images' type, to the teacher's embeddings (n, D).
        mean: Mean (D,) to subtract from each embedding; 0: nothing is subtracted.
        kind: The kind of view that the teacher sees.
        spec: The meaning of the images' values.
    """

    def __init__(self, embed: Callable[[Pixels], Features], mean: Features | float, kind: str, spec: ImageSpec):
        self._embed, self._mean, self._kind, self._spec = embed, mean, kind, spec

    def of(self, rows: npt.NDArray[np.int64], views: Views) -> Tensor:
        """Return embeddings (N, V, D)."""
        seen = views[self._kind]
        found = finite(self._embed(self._as_canvases(seen.flatten(0, 1)))) - self._mean
        return on_device(found.astype(np.float32, copy=False).reshape(*seen.shape[:2], -1), seen.device)

    def _as_canvases(self, views: Tensor) -> Pixels:
        """Return views (n, C, S, S) in [0, 1] as images (n, S, S, C) of the pool's type and scale."""
        spec = self._spec
        values = spec.low + views.permute(0, 2, 3, 1) * (spec.high - spec.low)
        if spec.dtype != "float32":
            values = values.round()
        canvases: Pixels = values.contiguous().cpu().numpy().astype(spec.numpy_dtype)
        return canvases


def finite(features: Features) -> Features:
    """Return embeddings (n, D) unchanged if all of them are finite.

    Raises:
        PipelineError: An embedding contains NaN or infinity.
    """
    wrong = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(wrong):
        raise PipelineError(
            f"pretrain.pretext_task.teacher: it returns NaN or infinity for {len(wrong)} of {len(features)} images. "
            "State the input that it takes (size, mean, std), or choose another teacher."
        )
    return features
