"""Some of the images of a source, decoded in bounded time by what ingest decodes with."""

import time
from collections import Counter
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
from ssl_pipeline.data.source import Images
from ssl_pipeline.errors import PipelineError

__all__ = ["SIDE", "Sample", "take"]

SIDE = 128
"""px of a sample's canvases: finer detail matters to few networks, and a sample of it fits into memory."""
IMAGES = 2000
"""With so many, a share of one half is known to two points."""
SECONDS = 6.0
BYTES = 200_000_000
PROBE = 24
"""Images by which it is decided whether pixels are kept as they are."""
ALIKE = 0.9
"""Share of the probe that must have one type and number of bands for that."""
MAX_MEGAPIXELS = 100.0
SHALLOW = (".jpg", ".jpeg", ".webp", ".gif", ".bmp")
"""Endings of files that hold 8 bits of grey or colours whatever they are, so that no probe is needed."""


@dataclass(frozen=True)
class Sample:
    """Decoded images of a source, in an order that depends on their number alone.

    Attributes:
        records: What the source says of all its images.
        chosen: What it says of the n decoded ones.
        canvases: (n, SIDE, SIDE, C), squashed to squares, in the type of `spec`.
        sizes: (n, 2) width and height, px.
        sketches: What near copies are found by, one for each.
        digests: SHA-256 of the pixels, one for each.
        spec: What the values of the canvases mean.
        pixels: How they were read: `ingest.pixels`.
        rejects: Kind of reason -> the number of images that could not be used, of those that were tried.
        images_per_second: How fast they were decoded, with all cores.
    """

    records: Sequence[Record]
    chosen: Sequence[Record]
    canvases: npt.NDArray[np.generic]
    sizes: npt.NDArray[np.int64]
    sketches: Sequence[bytes]
    digests: Sequence[bytes]
    spec: ImageSpec
    pixels: PixelsChoice
    rejects: Mapping[str, int]
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
    """Decode images of a source until there are enough of them, or the time is up.

    Args:
        source: The images of a source.
        pixels: How to read them; None: as they are where they have more than 8 bits or other bands than colours, and
            as 8-bit RGB otherwise.
        background: RGB, 0 to 255, under transparent pixels.
        images: The most images to decode.
        seconds: Time after which no further image is waited for, s.
        now: A clock, s.

    Raises:
        PipelineError: None of them can be used.
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
    rejects = Counter(reason.kind for reason in source.rejects.values())
    outcomes = _decoded(source, records, canvas(choice))
    with closing(outcomes):
        for record, outcome in zip(records, outcomes, strict=False):
            started = started or now()  # from when the first image is there: starting processes is not decoding
            if isinstance(outcome, RejectedError):
                rejects[outcome.kind] += 1
            else:
                found[record] = outcome
                size += len(outcome.canvas)
            if size > BYTES or now() - started > seconds:
                break
    tried = len(found) + sum(rejects.values()) - len(source.rejects)
    rate = max(tried - 1, 1) / max(now() - started, 1e-3)
    if not found:
        such = ", ".join(f"{kind} {count:,}" for kind, count in rejects.most_common(3))
        raise PipelineError(
            f"ingest.source: none of the {sum(rejects.values()):,} images that were tried can be used ({such}). Look "
            "whether these are the right files; data/ingested/rejects.csv names each reason after `dvc repro ingest`."
        )
    spec = RGB8
    if choice.name == "as_is":
        agreement = agree({record.path: one.values for record, one in found.items() if one.values}, choice)
        spec = agreement.spec
        rejects.update(reason.kind for reason in agreement.odd.values())
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
    """Keep pixels as they are where RGB of 8 bits would lose something of nearly all images."""
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
