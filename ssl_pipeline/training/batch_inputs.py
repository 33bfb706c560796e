"""The inputs of a pretext task, made from a batch of images."""

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
    """Make the views, random numbers, captions and teacher's embeddings that a task asks for.

    All inputs of a sample depend only on the sample, the seed and the epoch, not on the batch.

    Args:
        task: The task, which declares what it needs.
        policies: Kind of view -> policy.
        images: Canvases (N, S, S, C), on the device that makes the views.
        ids: Ids (N,) of the samples.
        seed: The seed of the run.
        epoch: The number of the epoch, from 0.
        spec: The meaning of the images' values.
        texts: The captions, for a task that learns from them.
        rows: Rows (N,) of the samples in the pool, needed to look up captions and the teacher's embeddings.
        shown: Canvases (V, N, S, S, C) of the frames that main views are made of; None: all views are made of `images`.
        targets: The teacher's embeddings, for a task that has a teacher.

    Raises:
        ValueError: The task learns from captions or a teacher, but `rows`, or `texts` or `targets`, is None.
    """
    main, counts = task.views.main, task.views.counts
    others, alike = {} if shown is None else {main: shown}, [main] if task.views.frames else ()
    views = make_views(policies, counts, images, ids, seed, epoch, spec, others, alike)
    if task.uniforms:
        numbers = randomness.uniforms(seed, epoch, ids, UNIFORMS, task.uniforms)
        views[UNIFORMS] = on_device(numbers, images.device)
    if task.text_tower is not None:
        if texts is None or rows is None:
            raise ValueError("the task learns from captions: texts and rows must not be None")
        drawn = texts.drawn(rows, ids, seed, epoch)
        views[TOKENS] = on_device(drawn.tokens, images.device)
        views[CAPTIONS] = on_device(drawn.captions, images.device)
    if task.teaching is not None:
        if targets is None or rows is None:
            raise ValueError("the task learns from a teacher: targets and rows must not be None")
        views[TEACHER] = targets.of(rows, views)
    return views
