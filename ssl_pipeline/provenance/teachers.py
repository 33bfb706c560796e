"""Digests of the files of the teacher that params.yaml names: a different teacher makes a different run."""

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
"""Key of the teacher in params.yaml."""

_CARD = "model.json"  # as in ssl_pipeline.artifacts.card, which takes seconds to import


def named_teachers(pretext_task: Mapping[str, Any]) -> list[Teacher]:
    """Return the teacher in the options of a pretext task, as written in params.yaml: a list of one, or an empty list.

    An invalid entry is ignored here; the stage refuses it.
    """
    written = pretext_task.get("teacher")
    if not isinstance(written, str | Mapping):
        return []
    try:
        return [Teacher.model_validate(written)]
    except ValidationError:
        return []


def teacher_digests(pretext_task: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of the files of a teacher, empty if none is named or if it is not a file.

    Args:
        pretext_task: Options of the task, as written in params.yaml.

    Returns:
        Name -> SHA-256, in hex. The name is the word "teacher" followed by the name that `file_digests` uses.
    """
    for teacher in named_teachers(pretext_task):
        with contextlib.suppress(ConfigError):  # the stage reports a bad path
            path = find_path(teacher.weights, TEACHER_KEY)
            if path.is_file():
                return {f"teacher{name}": found for name, found in file_digests(path).items()}
    return {}


def file_digests(path: Path) -> dict[str, str]:
    """Return the digests of a file, of files beside it that hold part of its weights, and of the card beside weights.

    Args:
        path: Path of a .safetensors file, or of an .onnx file, whose weights may lie in files beside it with the same
            name and an additional suffix.

    Returns:
        Name -> SHA-256, in hex. The name is the additional suffix of a file ("" for the file itself), or a slash and
        the name of the card.
    """
    beside = [Path(one) for one in sorted(glob.glob(glob.escape(str(path)) + "*"))]
    found = {one.name.removeprefix(path.name): sha256_once(one) for one in beside if one.is_file()}
    card = path.with_name(_CARD)
    if path.suffix.lower() == ".safetensors" and card.is_file():
        found[f"/{_CARD}"] = sha256_once(card)
    return found
