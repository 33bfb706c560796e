"""Searching a table of embeddings for the images most similar to an image or a text; listing and drawing them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from ssl_pipeline.data.image_spec import ImageSpec, Pixels
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.deployment.execution import Provider
from ssl_pipeline.deployment.runtime import TEXT
from ssl_pipeline.embeddings.reading import canvas_of, read_some
from ssl_pipeline.embeddings.table import Index
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.neighbours import check_finite, nearest
from ssl_pipeline.products import sha256_once
from ssl_pipeline.progress import say
from ssl_pipeline.runtime import Backbone, TextTower
from ssl_pipeline.terminal import shown
from ssl_pipeline.tokenizer import TOKENIZER

__all__ = ["MOST_DRAWN", "Match", "draw", "embed_query", "embed_text", "model_of", "search", "text_tower_of"]

MOST_DRAWN = 60
"""Largest number of matches that are drawn."""
_COLUMNS = 6
_TILE = 160  # px
_LETTERS = 19  # shown of a file's name above its image
_HEADING = 90  # letters shown of a text above the images


class Match(NamedTuple):
    """An image of the index: its path as in the index, and its cosine with the query."""

    path: str
    similarity: float


def model_of(index: Index, model: Path | None = None, provider: Provider = "auto") -> Backbone:
    """Open the backbone that made an index.

    Args:
        index: Index to search.
        model: Path of the backbone; None takes the path recorded in the index.
        provider: Execution provider, as `Backbone` takes it.

    Raises:
        PipelineError: The file does not exist, or is another model: embeddings of two models cannot be compared.
    """
    place = model or index.place(index.about.model)
    if model is None and not place.is_file():
        raise PipelineError(
            f"{shown(str(index.path), 200)} was made with {shown(str(place), 200)}, which does not exist. Give the "
            "path of this model with --model."
        )
    backbone = Backbone(place, provider=provider)
    if sha256_once(place) != index.about.model_sha256:
        raise PipelineError(
            f"{shown(str(place), 200)} is not the model that made {shown(str(index.path), 200)}, and embeddings of "
            "two models cannot be compared. Name that model with --model, or embed the images again."
        )
    return backbone


def text_tower_of(backbone: Backbone, provider: Provider = "auto") -> TextTower:
    """Open the text tower beside a backbone.

    Args:
        backbone: Model that made the index.
        provider: Execution provider, as `Backbone` takes it.

    Raises:
        PipelineError: There is no text tower, or it is from another run: only towers trained together share a space.
    """
    place = backbone.path.with_name(TEXT)
    if not place.is_file():
        raise PipelineError(
            f"--text: there is no {shown(str(place), 200)}, so this model cannot read texts. Only a model "
            f"trained with captions can: its {TEXT} and {TOKENIZER} must lie "
            "beside the backbone."
        )
    tower = TextTower(place, provider=provider)
    told = ("weights_sha256", "l2_normalized")
    if any(tower.metadata.get(key) != backbone.metadata.get(key) for key in told) or tower.dim != backbone.dim:
        raise PipelineError(
            f"{shown(str(place), 200)} and {shown(str(backbone.path), 200)} are from different runs, but only towers "
            "trained together can be compared: keep the files of one models/export together."
        )
    return tower


def embed_query(backbone: Backbone, query: Path) -> npt.NDArray[np.float32]:
    """Return the embedding (1, D) of an image file.

    Raises:
        PipelineError: The file cannot be read.
    """
    (picture,) = read_some([query], canvas_of(backbone.images, backbone.metadata), backbone.images)
    if isinstance(picture, RejectedError):
        raise PipelineError(f"{shown(str(query), 200)} cannot be used: {shown(str(picture), 300)}. Name an image.")
    return backbone([picture.pixels])


def embed_text(tower: TextTower, text: str) -> npt.NDArray[np.float32]:
    """Return the embedding (1, D) of a text.

    Raises:
        ConfigError: The text is blank.
    """
    if not text.strip():
        raise ConfigError("--text is empty: describe what the images should show.")
    if tower.truncated([text])[0]:
        say(f"search: the text exceeds the {tower.context} tokens that the model reads; its end is ignored")
    return tower([text])


def search(index: Index, embedding: npt.NDArray[np.float32], k: int) -> list[Match]:
    """Return the nearest images of an index, the nearest first; ties keep the order of the index.

    Args:
        index: Index to search, read in blocks of rows.
        embedding: Embedding (1, D) of the query, by the model that made the index.
        k: Largest number of images to return.

    Raises:
        PipelineError: An embedding has a value that is not finite.
    """
    check_finite(embedding, "of the query")
    best: list[tuple[float, int, str]] = []
    before = 0
    for paths, embeddings in index.rows():
        check_finite(embeddings, first=before)
        best = sorted([*best, *_nearest(paths, embeddings, embedding, k, before)])[:k]
        before += len(paths)
    return [Match(path, -distance) for distance, _, path in best]


def _nearest(
    paths: Sequence[str],
    embeddings: npt.NDArray[np.float32],
    embedding: npt.NDArray[np.float32],
    k: int,
    before: int,
) -> list[tuple[float, int, str]]:
    cosines, rows = nearest(embeddings, embedding, min(k, len(paths)))
    return [
        (-float(cosine), before + int(row), paths[row])
        for cosine, row in zip(cosines[0].clip(-1, 1), rows[0], strict=True)
    ]


def draw(index: Index, backbone: Backbone, query: Path | str, matches: Sequence[Match], path: Path) -> None:
    """Draw the query and its first matches, each with its rank, cosine and name; unreadable images are left white.

    A text becomes the heading of the picture.

    Args:
        index: Index that resolves the paths of the matches.
        backbone: Model whose metadata says how to read images.
        query: Path of the query image, or a text.
        matches: Matches, of which the first `MOST_DRAWN` are drawn.
        path: Path of the PNG to write.
    """
    from matplotlib.figure import Figure  # importing it takes longer than the search

    from ssl_pipeline.pictures import save_picture

    spec, matches = backbone.images, matches[:MOST_DRAWN]
    places = [index.place(match.path) for match in matches]
    titles = [f"{rank}.  {match.similarity:.3f}" for rank, match in enumerate(matches, 1)]
    if isinstance(query, Path):
        places, titles = [query, *places], ["query", *titles]
    rows = -(-len(places) // _COLUMNS)
    figure = Figure(figsize=(1.7 * _COLUMNS, 2.05 * rows), layout="constrained")
    if isinstance(query, str):
        figure.suptitle(shown(query, _HEADING).replace("$", r"\$"))
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    pictures = read_some(places, canvas_of(spec, backbone.metadata), spec)
    for axes, place, title, picture in zip(grid, places, titles, pictures, strict=False):
        if isinstance(picture, RejectedError):
            axes.text(0.5, 0.5, f"cannot\nbe read:\n{picture.kind}", ha="center", va="center", fontsize="small")
        else:
            axes.imshow(_thumbnail(picture.pixels, spec))
        name = shown(place.name, _LETTERS).replace("$", r"\$")  # an unescaped $ starts mathematics
        axes.set_title(f"{title}\n{name}", fontsize="small")
    save_picture(figure, path)


def _thumbnail(pixels: Pixels, spec: ImageSpec) -> npt.NDArray[np.uint8]:
    """Return an image (H, W, C) centred in a white RGB square, its full scale mapped from black to white."""
    bands = list(spec.rgb or ((0, 1, 2) if spec.channels >= 3 else (0, 0, 0)))
    thin = max(1, max(pixels.shape[:2]) // (4 * _TILE))
    values = (pixels[::thin, ::thin, bands].astype(np.float32) - spec.low) / (spec.high - spec.low)
    image = Image.fromarray((np.nan_to_num(values).clip(0, 1) * 255).round().astype(np.uint8))
    return np.asarray(ImageOps.pad(image, (_TILE, _TILE), color="white"))
