"""Which images the views of a sample are of, where some are of other frames of its clip."""

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
    """Chooses the images that views are of: by itself the samples' own, in subclasses other frames of their clips.

    It does so by numbers that are hashed from the seed, the epoch and the image, and depend on nothing else.

    Attributes:
        rows: The places (n',) in the pool of the images that are learned from, in their order; None: all are.
        near: The places in time of all images, by which some are no negatives of each other; None: time does not count.
        remark: The line to print about images that are left out; empty if none are.
    """

    rows: Positions | None = None
    near: Near | None = None
    remark = ""

    def of(self, positions: Positions, epoch: int) -> Positions | None:
        """Return the places (m, V) of the images that main views of samples (m,) are of; None: they are their own."""
        del positions, epoch
        return None

    def near_on(self, device: torch.device) -> Near | None:
        """Return `near` on a device."""
        return None if self.near is None else self.near.to(device)

    def canvases(self, pool: Split, positions: Positions, epoch: int, device: torch.device) -> Tensor | None:
        """Return the canvases (V, m, S, S, C) that the main views of samples (m,) are of; None: they are their own."""
        shown = self.of(positions, epoch)
        if shown is None:
            return None
        images = pool.images(shown.T.ravel())
        return on_device(images.reshape(*shown.T.shape, *images.shape[1:]), device)


OWN_IMAGES = OtherFrames()


class _Neighbours(OtherFrames):
    """The first view is of the frame itself, and each further one of a neighbour in time."""

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
    """Views of frames in the order of time, at the distances that a task asks for."""

    def __init__(self, pool: Split, moments: Moments, views: ViewNeeds, seed: int):
        assert views.frames is not None
        self._pool, self._count, self._seed = pool, views.count, seed
        least, most = views.frames
        self._paths = FramePaths(Timeline(moments, most), views.count, least, most)
        self.rows, left_out = self._paths.usable, len(pool) - len(self._paths.usable)
        if not len(self.rows):
            raise ConfigError(
                f"pretrain.pretext_task: no clip has {self._count} frames with {least:g} to {most:g} s from each to "
                "the next, and there is nothing to learn. Lower pretrain.pretext_task.least, raise "
                "pretrain.pretext_task.most, or change ingest.source.fps, so that frames lie so far apart."
            )
        if left_out:
            self.remark = (
                f"pretrain: {left_out:,} of {len(pool):,} images are left out: their clips have no {views.count} "
                f"frames with {least:g} to {most:g} s from each to the next."
            )

    def of(self, positions: Positions, epoch: int) -> Positions:
        numbers = randomness.uniforms(self._seed, epoch, self._pool.ids[positions], "frames", self._count)
        return self._paths.drawn(positions, numbers)


def moments_of(pool: Split, task: PretextTask, config: PretrainConfig) -> Moments | None:
    """Return the moments of a pool, where a run learns from time; None where it does not.

    Raises:
        ConfigError: Time is asked for, and no image of the pool has one.
    """
    refuse_without_times(task, config, pool.moments is not None)
    return pool.moments if _learns_from_time(task, config) else None


def refuse_without_times(task: PretextTask, config: PretrainConfig, timed: bool) -> None:
    """Refuse images for a run that learns from their times, if none has one.

    Args:
        task: The task.
        config: The section `pretrain`, with what the recipe sets.
        timed: Whether any image has a time.

    Raises:
        ConfigError: None has.
    """
    if _learns_from_time(task, config) and not timed:
        wanted = "several frames of a clip" if task.views.frames else "neighbouring frames as second views"
        raise ConfigError(
            f"pretrain.recipe: '{config.recipe}' learns from {wanted}, but no training image is a frame of a clip: the "
            "source does not say when its images were seen. Take a source of clips (`ssl-pipeline plugins` lists "
            "sources), or a recipe and pretrain.positives that need no time."
        )


def _learns_from_time(task: PretextTask, config: PretrainConfig) -> bool:
    return config.positives is not None or task.views.frames is not None


def other_frames(task: PretextTask, pool: Split, config: PretrainConfig) -> OtherFrames:
    """Return what chooses the images that views are of.

    Raises:
        ConfigError: As `moments_of` says it, or no clip has frames at the distances that the task asks for.
    """
    moments = moments_of(pool, task, config)
    if moments is None:
        return OWN_IMAGES
    if config.positives is None:
        return _Frames(pool, moments, task.views, config.seed)
    return _Neighbours(pool, moments, task.views.count, config.positives.within, config.seed)


def check_positives(needs: ViewNeeds, name: str, config: PretrainConfig) -> None:
    """Refuse positives in time for a task that has no second view.

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
            "Leave positives out, or take a recipe that compares two views of an image."
        )
