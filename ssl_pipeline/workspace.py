"""The user's workspace, and the resolution of paths in params.yaml.

`dvc exp run --queue` and `--temp` run in a copy of the files that git tracks, in `.dvc/tmp/exps/tmp...`, and delete the
copy afterwards. Files that git does not track (a folder of images) or that must outlive the copy (checkpoints) stay in
the workspace.
"""

import os
from pathlib import Path

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown

__all__ = ["PRODUCTS", "find_path", "seen_from", "workspace"]

PRODUCTS = ("data/ingested", "data/augmented", "models", "reports", ".work")
"""Folders that the stages write to, relative to the folder of params.yaml."""

_COPY_FOLDERS = (".dvc", "tmp", "exps")


def workspace() -> Path:
    """Return the user's folder: the current folder, as `.`, or the one from which DVC copied it."""
    here = Path.cwd()
    for copy in (here, *here.parents):
        if copy.parent.parts[-len(_COPY_FOLDERS) :] == _COPY_FOLDERS:
            folders = (folder for folder in (here, *here.parents) if folder.is_relative_to(copy))
            inner = next((folder for folder in folders if (folder / ".dvc").is_dir()), copy)
            return copy.parents[len(_COPY_FOLDERS)] / here.relative_to(inner)
    return Path()


def find_path(path: str, key: str) -> Path:
    """Resolve a path of params.yaml; the file or folder need not exist.

    Args:
        path: Path that is absolute, begins with `~`, or is relative to the folder of params.yaml. A path that a copy
            made by DVC lacks is looked up in the workspace.
        key: Key in params.yaml, for messages.

    Raises:
        ConfigError: The path is empty or cannot be resolved.
    """
    if not path.strip():
        raise ConfigError(f"{key}: the path is empty. Name a file or a folder.")
    try:
        place = Path(path).expanduser()
        if place.exists() or place.is_absolute():
            return place
        outside = workspace() / place
        return outside if outside.exists() else place
    except (OSError, RuntimeError) as error:  # a name that is too long, a folder without access, an unknown user
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{key}: '{shown(path, 200)}' cannot be looked up ({reason}).") from error


def seen_from(folder: Path, path: str) -> str:
    """Return a path as params.yaml should name it: relative if it lies in the folder of params.yaml or beside it.

    Args:
        folder: Absolute path of the folder of params.yaml.
        path: Absolute path to name.
    """
    return os.path.relpath(path, folder) if Path(path).is_relative_to(folder.parent) else path
