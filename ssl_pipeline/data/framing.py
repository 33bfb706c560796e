"""framing.json: how images were fitted to canvases, for users of a trained encoder, who must do the same."""

from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ssl_pipeline.data.decode import Resize
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import read_product, write_product
from ssl_pipeline.remedies import remake
from ssl_pipeline.terminal import brief

__all__ = ["Framing", "read_framing", "write_framing"]

NAME = "framing.json"


@dataclass(frozen=True)
class Framing:
    """How images were fitted to canvases.

    Attributes:
        canvas: Side of the canvas, px.
        resize: `squash` (both sides to the canvas), `crop` (largest centred square) or `letterbox` (all, with borders).
        background: Value under transparent pixels and in borders, one per channel, in the units of the images.
    """

    canvas: int
    resize: Resize
    background: tuple[int | float, ...]


def write_framing(store: Path, framing: Framing) -> None:
    """Write framing.json into the folder of a store, which must exist."""
    write_product(store / NAME, asdict(framing))


def read_framing(store: Path) -> Framing:
    """Read framing.json of a store.

    Raises:
        PipelineError: The file is missing or damaged.
    """
    path = store / NAME
    try:
        return TypeAdapter(Framing).validate_python(read_product(path, "ingest"))
    except ValidationError as error:
        raise PipelineError(f"{path} is damaged ({brief(error)}): {remake('ingest')}.") from error
