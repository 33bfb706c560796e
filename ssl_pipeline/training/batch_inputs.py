"""What a pretext task is given of a batch of images."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ssl_pipeline import randomness
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.training.batches import on_device
from ssl_pipeline.training.captions import TokenizedCaptions
from ssl_pipeline.training.targets import TeacherTargets
from ssl_pipeline.types import CAPTIONS, TEACHER, TOKENS, UNIFORMS, PretextTask, Views

__all__ = ["inputs"]


def inputs(
    task: PretextTask,
    policies: Mapping[str, Policy],
    images: Tensor,
    ids: npt.NDArray[np.uint64],
    seed: int,
    epoch: int,
    spec: ImageSpec = RGB8,
    texts: TokenizedCaptions | None = None,
    rows: npt.NDArray[np.int64] | None = None,
    shown: Tensor | None = None,
    targets: TeacherTargets | None = None,
) -> Views:
    """Make the views that a task asks for, its random numbers, its captions and its teacher's embeddings.

    All of them are functions of the samples.

    Args:
        task: The task, which says what it needs.
        policies: Kind of view -> policy.
        images: (N, S, S, C) canvases, on the device on which to compute.
        ids: (N,) identities of the samples.
        seed: The run's seed.
        epoch: The number of the epoch, from 0.
        spec: What the images' values mean.
        texts: The captions, for a task that learns from them.
        rows: (N,) the rows of the samples, by which their captions and their teacher's embeddings are found.
        shown: (V, N, S, S, C) canvases of the frames that the main views are of; None: the samples' own, for all views.
        targets: The teacher's embeddings, for a task that has a teacher.

    Raises:
        ValueError: The task learns from captions or from a teacher, and is given none.
    """
    main, counts = task.views.main, task.views.counts
    others, alike = {} if shown is None else {main: shown}, [main] if task.views.frames else ()
    views = make_views(policies, counts, images, ids, seed, epoch, spec, others, alike)
    if task.uniforms:
        numbers = randomness.uniforms(seed, epoch, ids, UNIFORMS, task.uniforms)
        views[UNIFORMS] = on_device(numbers, images.device)
    if task.text_tower is not None:
        if texts is None or rows is None:
            raise ValueError("a task that learns from captions is given none")
        drawn = texts.drawn(rows, ids, seed, epoch)
        views[TOKENS] = on_device(drawn.tokens, images.device)
        views[CAPTIONS] = on_device(drawn.captions, images.device)
    if task.teaching is not None:
        if targets is None or rows is None:
            raise ValueError("a task that learns from a teacher is given none")
        views[TEACHER] = targets.of(rows, views)
    return views
