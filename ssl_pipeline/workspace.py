"""Where the user works, and where the paths of params.yaml lead.

`dvc exp run --queue` and `--temp` run a copy of what git knows, in `.dvc/tmp/exps/tmp...`, and delete it afterwards.
What git does not know (a folder of images) and what has to outlive the copy (checkpoints) stays in the workspace.
"""

import os
from pathlib import Path

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown

__all__ = ["PRODUCTS", "find_path", "seen_from", "workspace"]

PRODUCTS = ("data/ingested", "data/augmented", "models", "reports", ".work")
"""Folders that the stages write to, in the folder of params.yaml."""

_COPY_FOLDERS = (".dvc", "tmp", "exps")


def workspace() -> Path:
    """Return the folder that the user works in: the current one, as `.`, or the one that DVC copied it from."""
    here = Path.cwd()
    for copy in (here, *here.parents):
        if copy.parent.parts[-len(_COPY_FOLDERS) :] == _COPY_FOLDERS:
            folders = (folder for folder in (here, *here.parents) if folder.is_relative_to(copy))
            inner = next((folder for folder in folders if (folder / ".dvc").is_dir()), copy)
            return copy.parents[len(_COPY_FOLDERS)] / here.relative_to(inner)
    return Path()


def find_path(path: str, key: str) -> Path:
    """Return where a path of params.yaml leads; the file or folder need not be there.

    Args:
        path: An absolute path, one that begins with `~`, or one relative to the folder of params.yaml. What a copy made
            by DVC lacks is looked for in the workspace.
        key: The key in params.yaml, for messages.

    Raises:
        ConfigError: Nothing can have that name.
    """
    if not path.strip():
        raise ConfigError(f"{key}: the path is empty. Name a file or a folder.")
    try:
        place = Path(path).expanduser()
        if place.exists() or place.is_absolute():
            return place
        outside = workspace() / place
        return outside if outside.exists() else place
    except (OSError, RuntimeError) as error:  # a name that is too long, a folder that is closed, no such user
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{key}: '{shown(path, 200)}' cannot be looked up ({reason}).") from error


def seen_from(folder: Path, path: str) -> str:
    """Return a path as params.yaml in a folder names it: relative where it lies in that folder or beside it.

    Args:
        folder: The folder of params.yaml, absolute.
        path: An absolute path.
    """
    return os.path.relpath(path, folder) if Path(path).is_relative_to(folder.parent) else path
