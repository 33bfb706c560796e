"""Choice of the images that a sample's views are made of, some of which may be other frames of its clip."""

import numpy as np
import torch
from torch import Tensor

from ssl_pipeline import randomness
from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.data.moments import Moments
from ssl_pipeline.data.store import Split
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.training.batches import on_device
from ssl_pipeline.training.timeline import FramePaths, Positions, Timeline
from ssl_pipeline.types import Near, PretextTask, ViewNeeds

__all__ = ["OWN_IMAGES", "OtherFrames", "check_positives", "moments_of", "other_frames", "refuse_without_times"]


class OtherFrames:
    """Choice of the images that views are made of: the samples' own here, other frames of their clips in subclasses.

    Choices come from a hash of the seed, the epoch and the image, and depend on nothing else.

    Attributes:
        rows: Positions (n',) in the pool of the images to learn from, in order; None: all images.
        near: Position of each image in time, so that neighbouring frames are never negatives of each other; None if
            time is ignored.
        remark: Line to print about images that are left out; empty if there are none.
    """

    rows: Positions | None = None
    near: Near | None = None
    remark = ""

    def of(self, positions: Positions, epoch: int) -> Positions | None:
        """Return positions (m, V) of the images that the main views of samples (m,) are made of; None: their own."""
        del positions, epoch
        return None

    def near_on(self, device: torch.device) -> Near | None:
        """Return `near` with its tensors on a device."""
        return None if self.near is None else self.near.to(device)

    def canvases(self, pool: Split, positions: Positions, epoch: int, device: torch.device) -> Tensor | None:
        """Return canvases (V, m, S, S, C) that the main views of samples (m,) are made of; None: their own."""
        shown = self.of(positions, epoch)
        if shown is None:
            return None
        images = pool.images(shown.T.ravel())
        return on_device(images.reshape(*shown.T.shape, *images.shape[1:]), device)


OWN_IMAGES = OtherFrames()


class _Neighbours(OtherFrames):
    """Choice of neighbours: the first view is of the frame itself, and each further view of a neighbour in time."""

    def __init__(self, pool: Split, moments: Moments, count: int, within: float, seed: int):
        self._pool, self._count, self._within, self._seed = pool, count, within, seed
        self._line = Timeline(moments, within)
        self.near = self._line.near(pool.ids, within)

    def of(self, positions: Positions, epoch: int) -> Positions:
        ids, shown = self._pool.ids[positions], [positions]
        for view in range(1, self._count):
            numbers = randomness.uniforms(self._seed, epoch, ids, f"neighbour/{view}", 1)[:, 0]
            shown.append(self._line.neighbours(positions, self._within, numbers))
        return np.stack(shown, axis=1)


class _Frames(OtherFrames):
    """Choice of frames in temporal order, at the distances that a task asks for."""

    def __init__(self, pool: Split, moments: Moments, views: ViewNeeds, seed: int):
        assert views.frames is not None
        self._pool, self._count, self._seed = pool, views.count, seed
        least, most = views.frames
        self._paths = FramePaths(Timeline(moments, most), views.count, least, most)
        self.rows, left_out = self._paths.usable, len(pool) - len(self._paths.usable)
        if not len(self.rows):
            raise ConfigError(
                f"pretrain.pretext_task: no clip has {self._count} frames that follow each other at {least:g} to "
                f"{most:g} s, so there is nothing to learn from. Lower pretrain.pretext_task.least, raise "
                "pretrain.pretext_task.most, or change ingest.source.fps to obtain frames at such distances."
            )
        if left_out:
            self.remark = (
                f"pretrain: {left_out:,} of {len(pool):,} images are left out: their clips do not have {views.count} "
                f"frames that follow each other at {least:g} to {most:g} s."
            )

    def of(self, positions: Positions, epoch: int) -> Positions:
        numbers = randomness.uniforms(self._seed, epoch, self._pool.ids[positions], "frames", self._count)
        return self._paths.drawn(positions, numbers)


def moments_of(pool: Split, task: PretextTask, config: PretrainConfig) -> Moments | None:
    """Return the moments of a pool's images, or None if the run does not learn from time.

    Raises:
        ConfigError: The run learns from time, but no image of the pool has one.
    """
    refuse_without_times(task, config, pool.moments is not None)
    return pool.moments if _learns_from_time(task, config) else None


def refuse_without_times(task: PretextTask, config: PretrainConfig, timed: bool) -> None:
    """Refuse a run that learns from the times of images if no image has one.

    Args:
        task: The task.
        config: The section `pretrain`, with the recipe's values filled in.
        timed: Whether any image has a time.

    Raises:
        ConfigError: The run learns from times, but no image has one.
    """
    if _learns_from_time(task, config) and not timed:
        wanted = "several frames of a clip" if task.views.frames else "neighbouring frames as second views"
        raise ConfigError(
            f"pretrain.recipe: '{config.recipe}' learns from {wanted}, but the source does not state the times of its "
            "images. Choose a source of clips (`ssl-pipeline plugins` lists sources), or a recipe that needs no times, "
            "without pretrain.positives."
        )


def _learns_from_time(task: PretextTask, config: PretrainConfig) -> bool:
    return config.positives is not None or task.views.frames is not None


def other_frames(task: PretextTask, pool: Split, config: PretrainConfig) -> OtherFrames:
    """Return the choice of images that a run's views are made of.

    Raises:
        ConfigError: The run learns from time, but no image of the pool has one, or no clip has frames at the distances
            that the task asks for.
    """
    moments = moments_of(pool, task, config)
    if moments is None:
        return OWN_IMAGES
    if config.positives is None:
        return _Frames(pool, moments, task.views, config.seed)
    return _Neighbours(pool, moments, task.views.count, config.positives.within, config.seed)


def check_positives(needs: ViewNeeds, name: str, config: PretrainConfig) -> None:
    """Refuse `pretrain.positives` for a task without a second view that could be of a neighbouring frame.

    Args:
        needs: The views that the task needs.
        name: The task's name, for messages.
        config: The section `pretrain`.

    Raises:
        ConfigError: The task learns from single views, or chooses its frames itself.
    """
    if config.positives is not None and (needs.count < 2 or needs.frames):
        learns = (
            "chooses the frames of a clip itself" if needs.frames else f"learns from one view '{needs.main}' per image"
        )
        raise ConfigError(
            f"pretrain.positives: pretext task '{name}' {learns}, so no neighbouring frame can be its second view. "
            "Leave out pretrain.positives, or choose a recipe that compares two views of an image."
        )
