"""Check that the disk has room for a run."""

import configparser
import shutil
from pathlib import Path

from ssl_pipeline.config import Config
from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.types import PretextTask

__all__ = ["room"]

COPIES = 12
"""Number of copies of the weights that a run writes: checkpoints with the optimizer's state, the encoder, graphs."""
LINKS = {"reflink", "hardlink", "symlink"}


def room(config: Config, task: PretextTask, images: int, spec: ImageSpec) -> tuple[int, int]:
    """Return the number of bytes that a run will write, including DVC's cache, and the number that is free.

    Raises:
        PipelineError: The disk has too little free space.
    """
    store = images * config.ingest.canvas**2 * spec.channels * spec.numpy_dtype.itemsize
    weights = sum(weight.numel() * weight.element_size() for weight in task.parameters())
    needed = (store + COPIES * weights) * (1 if _cache_links() else 2)
    free = shutil.disk_usage(Path.cwd()).free
    if needed > free:
        raise PipelineError(
            f"The run would write about {needed / 1e9:,.1f} GB, but only {free / 1e9:,.1f} GB are free. Free some "
            "space, or choose a smaller ingest.canvas."
        )
    return needed, free


def _cache_links() -> bool:
    """Return whether DVC's cache and the project share their files by links, according to DVC's configuration."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read([".dvc/config", ".dvc/config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return False  # DVC itself reports what is wrong with its configuration
    kinds = parser.get("cache", "type", fallback="").strip("\"'").split(",")
    return kinds[0].strip() in LINKS
