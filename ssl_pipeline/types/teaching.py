"""Another encoder that teaches: what a task is given of it, and what it says of it before anything is built."""

from dataclasses import dataclass
from typing import Literal

from ssl_pipeline.teacher_config import Teacher

__all__ = ["TEACHER", "Targets", "Teaching"]

TEACHER = "task/teacher"
"""Where a task finds its teacher's embeddings among its views, (N, T, D) float32; no kind of view can have this name. T
is 1 where the teacher has seen each whole image once, and V where it sees the V main views."""

Targets = Literal["once", "views"]
"""What a teacher sees: each whole image once, before training, or the views that the student sees."""


@dataclass(frozen=True)
class Teaching:
    """By whom a task is taught, and how.

    The pipeline opens the teacher, gives the task what it says of each image, and fills in the length of its embeddings
    as the option `teacher_dim`, so that a trained task can be built anew without its teacher.

    Attributes:
        teacher: The teacher; None: nobody is named yet, and training is refused.
        targets: What it sees.
        dim: D, the length of its embeddings.
        centre: Whether the mean of its embeddings over the images is taken off them.

    Raises:
        ValueError: The length is less than 1.

    Examples:
        >>> Teaching(Teacher(weights="teachers/large.onnx"), "once", dim=256).targets
        'once'
    """

    teacher: Teacher | None
    targets: Targets
    dim: int
    centre: bool = True

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"teacher_dim must be at least 1, got {self.dim}")
