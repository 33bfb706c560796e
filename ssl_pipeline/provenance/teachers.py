"""The files of a teacher that params.yaml names, as digests: another teacher is another run."""

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.products import sha256_once
from ssl_pipeline.teacher_config import Teacher
from ssl_pipeline.workspace import find_path

__all__ = ["TEACHER_KEY", "file_digests", "named_teacher", "teacher_digest"]

TEACHER_KEY = "pretrain.pretext_task.teacher"
"""The key of a teacher in params.yaml."""

_CARD = "model.json"  # that of ssl_pipeline.artifacts.card, which takes seconds to import


def named_teacher(pretext_task: Mapping[str, Any]) -> Teacher | None:
    """Return the teacher among the options of a pretext task, as params.yaml has them; None where there is none.

    What is no teacher is left to the stage to refuse.
    """
    written = pretext_task.get("teacher")
    if not isinstance(written, str | Mapping):
        return None
    try:
        return Teacher.model_validate(written)
    except ValidationError:
        return None


def teacher_digest(pretext_task: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of the files of a teacher; empty where none is named, or it is no file.

    Args:
        pretext_task: The options of the task, as params.yaml has them.
    """
    teacher = named_teacher(pretext_task)
    if teacher is None:
        return {}
    try:
        path = find_path(teacher.weights, TEACHER_KEY)
    except ConfigError:  # the stage says so
        return {}
    return file_digests(path) if path.is_file() else {}


def file_digests(path: Path) -> dict[str, str]:
    """Return the digest of a file, of files beside it that hold a part of its weights, and of the card beside weights.

    Args:
        path: An .onnx file, whose weights may lie in files beside it that have its name and an ending more, or a
            .safetensors file.

    Returns:
        What follows the file's own name, or the card's name -> SHA-256, in hex; whatever the file is called.
    """
    beside = [Path(one) for one in sorted(glob.glob(glob.escape(str(path)) + "*"))]
    found = {one.name.removeprefix(path.name): sha256_once(one) for one in beside if one.is_file()}
    card = path.with_name(_CARD)
    if path.suffix.lower() == ".safetensors" and card.is_file():
        found[_CARD] = sha256_once(card)
    return found
