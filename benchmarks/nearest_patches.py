"""Draw the picture of docs/forms.md: the patches of photographs that are nearest to one patch, found by its code.

python -m benchmarks.nearest_patches backbone_maps.onnx out.png --patch 1,4 --patch 2,2 query.jpg other.jpg ...
"""

import io
import json
import re
from pathlib import Path
from typing import Any

import click
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps

from benchmarks.project import ROOT
from ssl_pipeline.data.decode import to_canvas
from ssl_pipeline.deployment.runtime import open_session, read_metadata
from ssl_pipeline.palette import VERMILION

SIDE = 192
"""Side of a photograph in the picture, px; it is resized as the graph does, so that the cells of its map are square."""

FILE = click.Path(path_type=Path, dir_okay=False)


def documented(model: Path) -> dict[str, Any]:
    """Return the names that the code about maps in docs/forms.md defines, with `model` in place of its file."""
    page = (ROOT / "docs/forms.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import numpy.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("models/export/backbone_maps.onnx", str(model)), names)
    return names


@click.command()
@click.argument("model", type=FILE)
@click.argument("picture", type=FILE)
@click.argument("images", nargs=-1, required=True, type=FILE)
@click.option("--patch", "places", multiple=True, required=True, help="Row and column of a patch of the first image.")
def main(model: Path, picture: Path, images: tuple[Path, ...], places: tuple[str, ...]) -> None:
    """Draw a row of all images for each patch of the first image, shaded by the cosines of their patches with it."""
    names, says = documented(model), read_metadata(open_session(model))
    whole = [ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in images]
    pixels = [np.asarray(image) for image in whole]
    background = tuple(json.loads(says["background"]))
    shown = [to_canvas(image, SIDE, says["resize"], background) for image in whole]  # type: ignore[arg-type]
    figure = Figure(figsize=(1.6 * len(images), 1.7 * len(places)), layout="constrained")
    axes = figure.subplots(len(places), len(images), squeeze=False)
    for line, place in zip(axes, places, strict=True):
        row, column = map(int, place.split(","))
        for number, (axis, canvas) in enumerate(zip(line, shown, strict=True)):
            cosines = names["likeness"](pixels[0], row, column, pixels[number])
            nearest = divmod(int(cosines.argmax()), cosines.shape[1])
            draw(axis, canvas, cosines, nearest)
            axis.set_title("one patch" if number == 0 else f"cosine {cosines.max():.2f}", fontsize=8)
            click.echo(f"{place} {images[number].name}: {nearest} {cosines.max():.3f}, median {np.median(cosines):.3f}")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    Image.open(drawn).convert("RGB").quantize(200).save(picture, optimize=True)  # which halves the size of the file


def draw(axis: Axes, canvas: Image.Image, cosines: Any, best: tuple[int, int]) -> None:
    """Draw an image with a frame around its best patch, and a veil over the others.

    Args:
        axis: Axes to draw on.
        canvas: Image.
        cosines: Cosines (h, w) of its patches with the query; the lower the cosine, the denser the veil.
        best: Row and column of the patch to frame.
    """
    height, width = cosines.shape
    axis.imshow(canvas, extent=(0, width, height, 0))
    veil = np.zeros((height, width, 4))
    low, high = np.percentile(cosines, (20, 100))
    veil[..., 3] = 0.6 * (1 - ((cosines - low) / max(high - low, 1e-6)).clip(0, 1))
    axis.imshow(veil, extent=(0, width, height, 0))
    axis.add_patch(Rectangle((best[1], best[0]), 1, 1, fill=False, edgecolor=VERMILION, linewidth=2))
    axis.set_axis_off()


if __name__ == "__main__":
    main()
