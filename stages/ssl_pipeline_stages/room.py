"""Whether the disk has room for a run."""

import configparser
import shutil
from pathlib import Path

from ssl_pipeline.config import Config
from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.types import PretextTask

__all__ = ["room"]

COPIES = 12
"""Times that weights are written in a run: checkpoints with the optimizer's state, the encoder, graphs."""
LINKS = {"reflink", "hardlink", "symlink"}


def room(config: Config, task: PretextTask, images: int, spec: ImageSpec) -> tuple[int, int]:
    """Return the bytes that a run will write, with DVC's cache, and those that are free.

    Raises:
        PipelineError: There is not as much room.
    """
    store = images * config.ingest.canvas**2 * spec.channels * spec.numpy_dtype.itemsize
    weights = sum(weight.numel() * weight.element_size() for weight in task.parameters())
    needed = (store + COPIES * weights) * (1 if _cache_links() else 2)
    free = shutil.disk_usage(Path.cwd()).free
    if needed > free:
        raise PipelineError(
            f"The run would write about {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free: free some space, or "
            "choose a smaller ingest.canvas."
        )
    return needed, free


def _cache_links() -> bool:
    """Say whether DVC's cache and the project share the files that lie in both, as far as its configuration says."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read([".dvc/config", ".dvc/config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return False  # DVC itself says what is wrong with them
    kinds = parser.get("cache", "type", fallback="").strip("\"'").split(",")
    return kinds[0].strip() in LINKS
