"""Write pictures to files."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure

from ssl_pipeline.products import atomic_file

__all__ = ["save_picture"]


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whose bytes depend only on what is drawn."""
    with atomic_file(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing")  # glyphs that the font lacks are drawn as boxes
        figure.savefig(temporary, format="png", dpi=120, bbox_inches="tight", metadata={"Software": None})
