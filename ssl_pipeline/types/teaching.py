"""Teaching by another encoder: what a task receives from it, and what it declares before anything is built."""

from dataclasses import dataclass
from typing import Literal

from ssl_pipeline.teacher_config import Teacher

__all__ = ["TEACHER", "Targets", "Teaching"]

TEACHER = "task/teacher"
"""Key under which a task finds its teacher's embeddings (N, T, D) float32 among its views; no kind of view can have
this name. T is 1 if the teacher has seen each whole image once, and V if it sees the V main views."""

Targets = Literal["once", "views"]
"""Images that a teacher sees: each whole image once, before training, or the views that the student sees."""


@dataclass(frozen=True)
class Teaching:
    """The teacher of a task, and how it teaches.

    The pipeline opens the teacher, gives the task its embedding of each image, and fills in the length of the
    embeddings as the option `teacher_dim`, so that a trained task can be rebuilt without its teacher.

    Attributes:
        teacher: The teacher; None if none has been named yet, and training is refused.
        targets: Images that the teacher sees.
        dim: Length of the teacher's embeddings, D, at least 1.
        centre: Whether to subtract the mean of the teacher's embeddings over the images.

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
