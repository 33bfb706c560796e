"""Sample of the images of a source, decoded in bounded time by the same code as in ingest."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.agreement import RGB8_PIXELS, PixelsChoice, agree
from ssl_pipeline.data.decode import Canvas, Decoded
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.parallel import DecodingOutcome, decode_all
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.source import NO_IMAGES, Images
from ssl_pipeline.errors import PipelineError

__all__ = ["SIDE", "Sample", "take"]

SIDE = 128
"""Side of a sample's canvases, in px: finer detail matters to few networks, and a sample of this size fits into
memory."""
IMAGES = 2000
"""Maximum number of images in a sample; with so many, a share of 50% is known to within two points."""
SECONDS = 6.0
BYTES = 200_000_000
PROBE = 24
"""Number of images that decide whether pixels are kept as they are."""
ALIKE = 0.9
"""Share of these images that must have the same type and number of bands for that."""
MAX_MEGAPIXELS = 100.0
SHALLOW = (".jpg", ".jpeg", ".webp", ".gif", ".bmp")
"""Endings of files that always hold 8-bit grey or colours, so that no probe is needed."""


@dataclass(frozen=True)
class Sample:
    """Decoded images of a source, in an order that depends only on the number of its images.

    Attributes:
        records: Records of all images of the source.
        chosen: Records of the n decoded images.
        canvases: Images (n, SIDE, SIDE, C), squashed to squares, in the type of `spec`.
        sizes: Widths and heights (n, 2), in px.
        sketches: Sketch of each decoded image, for finding near copies.
        digests: SHA-256 of the pixels of each decoded image.
        spec: Channels and type of the canvases.
        pixels: Value of `ingest.pixels` with which the images were read.
        rejects: Kind of reason -> paths of the unusable images among those that were tried.
        images_per_second: Decoding speed with all cores, in images per second.
    """

    records: Sequence[Record]
    chosen: Sequence[Record]
    canvases: npt.NDArray[np.generic]
    sizes: npt.NDArray[np.int64]
    sketches: Sequence[bytes]
    digests: Sequence[bytes]
    spec: ImageSpec
    pixels: PixelsChoice
    rejects: Mapping[str, Sequence[str]]
    images_per_second: float

    def __len__(self) -> int:
        return len(self.chosen)


def take(
    source: Images,
    pixels: PixelsChoice | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
    images: int = IMAGES,
    seconds: float = SECONDS,
    now: Callable[[], float] = time.monotonic,
) -> Sample:
    """Decode images of a source until there are enough, or the time is up.

    Args:
        source: Images of the source.
        pixels: Value of `ingest.pixels`; None to keep images as they are if they have more than 8 bits or bands that
            are not colours, and to read them as 8-bit RGB otherwise.
        background: RGB colour under transparent pixels, from 0 to 255.
        images: Maximum number of images to decode.
        seconds: Time limit, in seconds.
        now: Clock, which returns seconds.

    Raises:
        PipelineError: None of the images is usable.
    """
    order = np.random.default_rng(0).permutation(len(source.records))[:images]
    records = [source.records[place] for place in order]

    def canvas(choice: PixelsChoice) -> Canvas:
        return Canvas(SIDE, "squash", background, 1, MAX_MEGAPIXELS, choice)

    probe = records[:PROBE]
    if pixels or all(record.path.lower().endswith(SHALLOW) for record in probe):
        choice = pixels or RGB8_PIXELS
    else:
        choice = _choose(list(_decoded(source, probe, canvas(PixelsChoice(name="as_is")))))
    started, size = 0.0, 0
    found: dict[Record, Decoded] = {}
    rejects = defaultdict[str, list[str]](list)
    for path, reason in source.rejects.items():
        rejects[reason.kind].append(path)
    outcomes = _decoded(source, records, canvas(choice))
    with closing(outcomes):
        for record, outcome in zip(records, outcomes, strict=False):
            started = started or now()  # start with the first image, to exclude the start of processes
            if isinstance(outcome, RejectedError):
                rejects[outcome.kind].append(record.path)
            else:
                found[record] = outcome
                size += len(outcome.canvas)
            if size > BYTES or now() - started > seconds:
                break
    unusable = sum(map(len, rejects.values()))
    tried = len(found) + unusable - len(source.rejects)
    rate = max(tried - 1, 1) / max(now() - started, 1e-3)
    if not found:
        raise _nothing_usable(rejects)
    spec = RGB8
    if choice.name == "as_is":
        agreement = agree({record.path: one.values for record, one in found.items() if one.values}, choice)
        spec = agreement.spec
        for path, reason in agreement.odd.items():
            rejects[reason.kind].append(path)
        found = {record: one for record, one in found.items() if record.path not in agreement.odd}
    return Sample(
        records=source.records,
        chosen=tuple(found),
        canvases=_stack([one.canvas for one in found.values()], spec),
        sizes=np.array([(one.width, one.height) for one in found.values()], np.int64).reshape(-1, 2),
        sketches=[one.sketch for one in found.values()],
        digests=[one.digest for one in found.values()],
        spec=spec,
        pixels=choice,
        rejects=dict(rejects),
        images_per_second=rate,
    )


def _decoded(source: Images, records: Sequence[Record], canvas: Canvas) -> Generator[DecodingOutcome, None, None]:
    yield from decode_all(replace(source, records=records), canvas)


def _choose(probe: Sequence[DecodingOutcome]) -> PixelsChoice:
    """Choose to keep pixels as they are if 8-bit RGB would lose information in nearly all images."""
    values = [one.values for one in probe if isinstance(one, Decoded) and one.values]
    kinds = Counter((value.channels, value.dtype) for value in values)
    if not kinds:
        return RGB8_PIXELS
    (channels, dtype), count = kinds.most_common(1)[0]
    colours = channels <= 2 or all(value.is_rgb for value in values if value.channels == channels)
    loses = dtype != "uint8" or not colours
    return PixelsChoice(name="as_is") if loses and count >= ALIKE * len(probe) else RGB8_PIXELS


def _stack(canvases: Sequence[bytes], spec: ImageSpec) -> npt.NDArray[np.generic]:
    content = np.frombuffer(b"".join(canvases), spec.numpy_dtype)
    return content.reshape(-1, SIDE, SIDE, spec.channels)


def _nothing_usable(rejects: Mapping[str, Sequence[str]]) -> PipelineError:
    """Return the error for a sample without usable images, by kind of reason -> paths."""
    if not rejects:
        return PipelineError(NO_IMAGES)
    most = sorted(rejects.items(), key=lambda item: -len(item[1]))[:3]
    such = ", ".join(f"{kind} {len(paths):,}" for kind, paths in most)
    return PipelineError(
        f"ingest.source: none of the {sum(map(len, rejects.values())):,} images tried is usable ({such}). Check that "
        "these are the right files; after `dvc repro ingest`, data/ingested/rejects.csv lists each reason."
    )
