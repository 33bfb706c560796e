"""The images of a table of embeddings that are most like one, or that a text describes: found, listed and drawn."""

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
"""Matches that are drawn, at most."""
_COLUMNS = 6
_TILE = 160  # px
_LETTERS = 19  # of a file's name below its image
_HEADING = 90  # letters of a text above the images


class Match(NamedTuple):
    """An image of the index: its path, as the index has it, and its cosine to the query."""

    path: str
    similarity: float


def model_of(index: Index, model: Path | None = None, provider: Provider = "auto") -> Backbone:
    """Open the backbone that made an index.

    Args:
        index: The index.
        model: The path of the backbone; None: where the index says that it lies.
        provider: The execution provider, as `Backbone` takes it.

    Raises:
        PipelineError: It is not there, or is another one: embeddings of two models cannot be compared.
    """
    place = model or index.place(index.about.model)
    if model is None and not place.is_file():
        raise PipelineError(
            f"{shown(str(index.path), 200)} was made by {shown(str(place), 200)}, which does not exist. Give the "
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
    """Open the text tower that lies beside a backbone.

    Args:
        backbone: The model that made the index.
        provider: The execution provider, as `Backbone` takes it.

    Raises:
        PipelineError: There is none, or it is of another run: only towers that were trained together share a space.
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
            f"{shown(str(place), 200)} and {shown(str(backbone.path), 200)} are of different runs, and only towers "
            "that were trained together can be compared: keep the files of one models/export together."
        )
    return tower


def embed_query(backbone: Backbone, query: Path) -> npt.NDArray[np.float32]:
    """Return the embedding (1, D) of an image file.

    Raises:
        PipelineError: It cannot be read.
    """
    (picture,) = read_some([query], canvas_of(backbone.images, backbone.metadata), backbone.images)
    if isinstance(picture, RejectedError):
        raise PipelineError(f"{shown(str(query), 200)} cannot be used: {shown(str(picture), 300)}. Name an image.")
    return backbone([picture.pixels])


def embed_text(tower: TextTower, text: str) -> npt.NDArray[np.float32]:
    """Return the embedding (1, D) of a text.

    Raises:
        ConfigError: It is blank.
    """
    if not text.strip():
        raise ConfigError("--text is empty: describe what the images should show.")
    if tower.truncated([text])[0]:
        say(f"search: the text has more than the {tower.context} tokens that the model reads; its end is not read")
    return tower([text])


def search(index: Index, embedding: npt.NDArray[np.float32], k: int) -> list[Match]:
    """Return the nearest images of an index, the nearest first; of equally near ones, the one that comes first there.

    Args:
        index: The index, which is read some rows at a time.
        embedding: The embedding (1, D) of what is looked for, by the model that made the index.
        k: The number of images; all of the index if it has fewer.

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
    """Draw the query and its first matches, each with its rank, cosine and name; what cannot be read now is left white.

    A text is the picture's heading.

    Args:
        index: The index, which says where its paths lead.
        backbone: The model, which says how images are read.
        query: The path of the query, or a text.
        matches: What was found, of which the first `MOST_DRAWN` are drawn.
        path: The path of the PNG.
    """
    from matplotlib.figure import Figure  # takes longer than the search

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
            axes.text(0.5, 0.5, f"cannot be\nread now:\n{picture.kind}", ha="center", va="center", fontsize="small")
        else:
            axes.imshow(_thumbnail(picture.pixels, spec))
        name = shown(place.name, _LETTERS).replace("$", r"\$")  # which would begin mathematics
        axes.set_title(f"{title}\n{name}", fontsize="small")
    save_picture(figure, path)


def _thumbnail(pixels: Pixels, spec: ImageSpec) -> npt.NDArray[np.uint8]:
    """Return an image (H, W, C) in the middle of a white square of RGB, the full scale from black to white."""
    bands = list(spec.rgb or ((0, 1, 2) if spec.channels >= 3 else (0, 0, 0)))
    thin = max(1, max(pixels.shape[:2]) // (4 * _TILE))
    values = (pixels[::thin, ::thin, bands].astype(np.float32) - spec.low) / (spec.high - spec.low)
    image = Image.fromarray((np.nan_to_num(values).clip(0, 1) * 255).round().astype(np.uint8))
    return np.asarray(ImageOps.pad(image, (_TILE, _TILE), color="white"))
