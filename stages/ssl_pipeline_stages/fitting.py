"""Fit settings to the images of a source, for `plan` and `init`."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ssl_pipeline.config import Choice
from ssl_pipeline.data.source import find_source
from ssl_pipeline.data.source_contract import open_images
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.planning.evidence import Evidence, examine
from ssl_pipeline.planning.machine import Machine, look_around
from ssl_pipeline.planning.params_file import read_record, set_by_a_person
from ssl_pipeline.planning.proposal import Proposal, propose
from ssl_pipeline.planning.recognition import are_shards, kind_of_clips
from ssl_pipeline.planning.sample import take
from ssl_pipeline.progress import say
from ssl_pipeline.yaml_file import read_yaml
from ssl_pipeline_stages import code
from ssl_pipeline_stages.params import load_params
from ssl_pipeline_stages.shelf import SHELF, SHIPPED
from ssl_pipeline_stages.starts import NOT_SAID, Start, given

__all__ = ["fit", "recognised"]

_READ_AS = {
    "shards": "The files are .tar shards; images are read from them, with captions and classes of the same name.",
    "films": "The files are films; one frame per second is taken. Set ingest.source.fps for more or fewer.",
    "frames": "File names count up and neighbouring images look alike, so folders are read as clips of one frame per "
    "second. Set ingest.source.fps to the camera's rate, or ingest.source.name to folder if they are not frames.",
}


def recognised(path: str, labels: str | None = None) -> tuple[dict[str, Any], list[str]]:
    """Return the value of `ingest.source` that suits some files, and remarks for the user, one per line.

    Args:
        path: Path of a directory, a .zip or a .tar file.
        labels: Path of a table of labels, keyed by the paths of images or films.

    Raises:
        PipelineError: The path does not exist or cannot be read, or .tar shards are combined with a table of labels.
    """
    table = {} if labels is None else {"labels": labels}
    if are_shards(find_source(path)):
        if labels is not None:
            raise PipelineError(
                "--labels works with folders and .zip files only: .tar shards of a WebDataset contain their labels."
            )
        return {"name": "webdataset", "path": path}, [_READ_AS["shards"]]
    kind = kind_of_clips(find_source(path))
    if kind is None or (kind == "frames" and table):  # a table has a line per image
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
    """Propose settings for params.yaml, without writing them.

    Args:
        params: Path of params.yaml.
        source: Value of `ingest.source` to use instead of the one in the file; None to use the file's.
        hours: Time limit for all stages together, in hours.
        overwrite: Whether to replace values that the user has set.
        tell: Callback that receives the evidence and the machine before the proposal is made, which takes seconds.
        start: Command-line options that choose the weights to start from.
        place: Folder in which params.yaml will lie; None if it stays where it is.

    Raises:
        PipelineError: The file is invalid, the source has no usable images, or the weights are refused.
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
    images = open_images(code.source(config))
    say("Looking at a sample of the images, and timing this machine; this takes some seconds.")
    evidence = examine(take(images, pixels, config.ingest.background))
    machine = look_around()
    tell(evidence, machine)
    return propose(registry, SHELF, evidence, machine, hours, content, left, given=weights)
