"""The files of a teacher that params.yaml names, as digests: another teacher is another run."""

import contextlib
import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.products import sha256_once
from ssl_pipeline.teacher_config import Teacher
from ssl_pipeline.workspace import find_path

__all__ = ["TEACHER_KEY", "file_digests", "named_teachers", "teacher_digests"]

TEACHER_KEY = "pretrain.pretext_task.teacher"
"""The key of a teacher in params.yaml."""

_CARD = "model.json"  # that of ssl_pipeline.artifacts.card, which takes seconds to import


def named_teachers(pretext_task: Mapping[str, Any]) -> list[Teacher]:
    """Return the teacher among the options of a pretext task, as params.yaml has them: one, or none.

    What is no teacher is left to the stage to refuse.
    """
    written = pretext_task.get("teacher")
    if not isinstance(written, str | Mapping):
        return []
    try:
        return [Teacher.model_validate(written)]
    except ValidationError:
        return []


def teacher_digests(pretext_task: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of the files of a teacher; empty where none is named, or it is no file.

    Args:
        pretext_task: The options of the task, as params.yaml has them.

    Returns:
        The word teacher, followed by what `file_digests` calls a file -> SHA-256, in hex.
    """
    for teacher in named_teachers(pretext_task):
        with contextlib.suppress(ConfigError):  # of a path that is none, as the stage says
            path = find_path(teacher.weights, TEACHER_KEY)
            if path.is_file():
                return {f"teacher{name}": found for name, found in file_digests(path).items()}
    return {}


def file_digests(path: Path) -> dict[str, str]:
    """Return the digest of a file, of files beside it that hold a part of its weights, and of the card beside weights.

    Args:
        path: An .onnx file, whose weights may lie in files beside it that have its name and an ending more, or a
            .safetensors file.

    Returns:
        What follows the file's own name (of the file itself, nothing), or / and the card's -> SHA-256, in hex.
    """
    beside = [Path(one) for one in sorted(glob.glob(glob.escape(str(path)) + "*"))]
    found = {one.name.removeprefix(path.name): sha256_once(one) for one in beside if one.is_file()}
    card = path.with_name(_CARD)
    if path.suffix.lower() == ".safetensors" and card.is_file():
        found[f"/{_CARD}"] = sha256_once(card)
    return found
