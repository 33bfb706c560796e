"""Settings fitted to the images of a source, as `plan` and `init` write them."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ssl_pipeline.config import Choice
from ssl_pipeline.data.source import find_source
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.planning.evidence import Evidence, examine
from ssl_pipeline.planning.machine import Machine, look_around
from ssl_pipeline.planning.params_file import read_record, set_by_a_person
from ssl_pipeline.planning.proposal import Proposal, propose
from ssl_pipeline.planning.recognition import are_shards, kind_of_clips
from ssl_pipeline.planning.sample import take
from ssl_pipeline.yaml_file import read_yaml
from ssl_pipeline_stages import code
from ssl_pipeline_stages.params import load_params
from ssl_pipeline_stages.shelf import SHELF, SHIPPED
from ssl_pipeline_stages.starts import NOT_SAID, Start, given

__all__ = ["fit", "recognised"]

_READ_AS = {
    "shards": "They are .tar shards, of which images are read, and captions and classes of the same name.",
    "films": "They are films, of which one frame per second is taken: set ingest.source.fps for more or fewer.",
    "frames": "Their names count up and neighbours look alike, so folders are read as clips of one frame per second: "
    "set ingest.source.fps to the rate of the camera, or ingest.source.name to folder if these are no frames.",
}


def recognised(path: str, labels: str | None = None) -> tuple[dict[str, Any], list[str]]:
    """Return `ingest.source` for a pile of files, and what is to be said of it, in lines.

    Args:
        path: The path of a directory, a .zip or a .tar.
        labels: The path of a table of labels, by the paths of images or of films.

    Raises:
        PipelineError: There is nothing, or it cannot be read.
    """
    table = {} if labels is None else {"labels": labels}
    if are_shards(find_source(path)):
        if labels is not None:
            raise PipelineError(
                "--labels is of folders and .zip files: the .tar shards of a WebDataset hold their own."
            )
        return {"name": "webdataset", "path": path}, [_READ_AS["shards"]]
    kind = kind_of_clips(find_source(path))
    if kind is None or (kind == "frames" and table):  # a table has a line for each image
        return {"name": "folder", "path": path, **table}, []
    return {"name": "clips", "path": path, **table}, [_READ_AS[kind]]


def fit(
    params: Path,
    source: Mapping[str, Any] | None,
    hours: float,
    overwrite: bool = False,
    tell: Callable[[Evidence, Machine], None] = lambda evidence, machine: None,
    start: Start = NOT_SAID,
    place: Path | None = None,
) -> Proposal:
    """Propose settings for params.yaml, in which nothing is written.

    Args:
        params: The path of params.yaml.
        source: `ingest.source`, where it is another one than in the file.
        hours: Time that all stages together may take.
        overwrite: Whether what a person has set is given up.
        tell: A function that is given what the proposal is made from, some seconds before it is made.
        start: The options that say which weights to start from.
        place: The folder in which params.yaml will lie; None: where it lies.

    Raises:
        PipelineError: The file is not valid, the source has no images that can be used, or weights are refused.
    """
    config, content, registry = load_params(params), read_yaml(params), load_registry()
    weights = given(registry, config, start, place or params.parent)
    if source:
        content["ingest"]["source"] = source
        ingest = config.ingest.model_copy(update={"source": Choice.model_validate(source)})
        config = config.model_copy(update={"ingest": ingest})
    left: Collection[str] = ()
    if not overwrite:
        left = set_by_a_person(content, read_record(params.parent), SHIPPED, SHIPPED)
    pixels = config.ingest.pixels if "ingest.pixels" in left else None
    evidence = examine(take(code.source(config).open(), pixels, config.ingest.background))
    machine = look_around()
    tell(evidence, machine)
    return propose(registry, SHELF, evidence, machine, hours, content, left, given=weights)
