"""What a sample of images says of all of them: the fingerprint that settings are proposed by."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.agreement import PixelsChoice
from ssl_pipeline.data.caption_audit import sift
from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.data.layout import SPLIT_NAMES, Record
from ssl_pipeline.data.likeness import alike
from ssl_pipeline.planning.sample import SIDE, Sample
from ssl_pipeline.planning.symmetry import Told, tell_apart

__all__ = ["Evidence", "Labelling", "Spread", "examine"]

Float = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]

THUMBNAIL = 32
TOLD_APART = 1000
"""Images that mirrors are tried on: with so many, a share of one half is known to three points."""
GREY = 4 / 255
"""Mean difference of channels up to which an image counts as grey: JPEG leaves some."""
FOLDERS = 20
"""Folders below the classes from which on they count as tracks, patients and the like."""


@dataclass(frozen=True)
class Spread:
    """What nine tenths of the images lie between: the 5th, the 50th and the 95th percentile."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Labelling:
    """What the source says of the images, all of them.

    Attributes:
        images: Number of images.
        labelled: Number of those with a label.
        classes: Number of different labels.
        smallest: Number of images of the smallest class; 0 where there is none.
        largest: Number of images of the largest class.
        groups: Number of the groups that the source names.
        splits: Split that the source names -> number of its images.
        clips: Number of clips that images are frames of.
        captioned: Number of images with a caption.
        captions: Number of different captions.
    """

    images: int
    labelled: int
    classes: int
    smallest: int
    largest: int
    groups: int
    splits: Mapping[str, int]
    clips: int = 0
    captioned: int = 0
    captions: int = 0


@dataclass(frozen=True)
class Evidence:
    """The fingerprint of a data set.

    Attributes:
        labelling: What the source says of all images.
        sampled: Number of images that were decoded; what follows is of these.
        rejects: Kind of reason -> number of images that could not be used.
        images_per_second: How fast they were decoded, on all cores.
        short_side: Shorter side, px.
        aspect: Width / height.
        pixels: How they were read: `ingest.pixels`.
        spec: What their values mean.
        grey: Share of the images without colours, in [0, 1].
        saturation: Mean difference of the largest and the smallest channel, as a share of the full scale; 0 for images
            whose bands are no colours.
        detail: Side in px -> share of the variance of an image's pixels that is left at that side; sides up to the
            median of the shorter sides.
        copies: Share of the images that are near copies of other ones in the sample, or the same.
        told: Turn -> how often a classifier told images from what the turn makes of them; empty for too few images.
    """

    labelling: Labelling
    sampled: int
    rejects: Mapping[str, int]
    images_per_second: float
    short_side: Spread
    aspect: Spread
    pixels: PixelsChoice
    spec: ImageSpec
    grey: float
    saturation: float
    detail: Mapping[int, float]
    copies: float
    told: Mapping[str, Told]

    @property
    def usable(self) -> int:
        """Images of the whole data set that can be expected to be of use."""
        tried = self.sampled + sum(self.rejects.values())
        return round(self.labelling.images * self.sampled / tried)


def examine(sample: Sample) -> Evidence:
    """Look at a sample of at least one image."""
    chunks = range(0, len(sample), 256)  # in floats, all at once would be a lot
    looks = [_look(_shares(sample, slice(start, start + 256)), sample.spec) for start in chunks]
    short = sample.sizes.min(axis=1)
    groups, copies = _groups(sample)
    thumbnails = np.concatenate([look.thumbnails for look in looks])[:TOLD_APART]
    kept = np.sum([look.kept for look in looks], axis=0)
    return Evidence(
        labelling=_labelling(sample.records),
        sampled=len(sample),
        rejects=dict(sample.rejects),
        images_per_second=sample.images_per_second,
        short_side=_spread(short),
        aspect=_spread(sample.sizes[:, 0] / sample.sizes[:, 1]),
        pixels=sample.pixels,
        spec=sample.spec,
        grey=float(np.concatenate([look.grey for look in looks]).mean()),
        saturation=float(np.concatenate([look.saturation for look in looks]).mean()),
        detail={
            side: float(share)
            for side, share in zip(SIDES, kept / max(kept[-1], 1e-12), strict=True)
            if side <= np.median(short)
        },
        copies=copies,
        told=tell_apart(thumbnails, groups[:TOLD_APART]),
    )


SIDES = (8, 16, 32, 64, SIDE)


@dataclass(frozen=True)
class _Look:
    """What is seen of some images; `kept` are sums of variances at each of SIDES."""

    thumbnails: Float
    grey: npt.NDArray[np.bool_]
    saturation: Float
    kept: npt.NDArray[np.float64]


def _shares(sample: Sample, part: slice) -> Float:
    """Some canvases as shares of the full scale, in [0, 1]."""
    low, high = np.float32(sample.spec.low), np.float32(sample.spec.high)
    values: Float = (sample.canvases[part].astype(np.float32) - low) / (high - low)
    return np.nan_to_num(values).clip(0, 1) if sample.spec.dtype == "float32" else values.clip(0, 1)


def _look(images: Float, spec: ImageSpec) -> _Look:
    levels = {SIDE: images}
    for side in reversed(SIDES[:-1]):
        levels[side] = _halved(levels[2 * side])
    small = levels[THUMBNAIL]
    colours = small[..., list(spec.rgb)] if spec.rgb else small[..., :1]
    saturation = (colours.max(axis=3) - colours.min(axis=3)).mean(axis=(1, 2))
    kept = np.array([levels[side].var(axis=(1, 2)).sum() for side in SIDES], np.float64)
    return _Look(small, saturation <= GREY, saturation, kept)


def _halved(images: Float) -> Float:
    """(n, 2 S, 2 S, C) to the means of blocks of four pixels, (n, S, S, C)."""
    rows = images[:, ::2] + images[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) * np.float32(0.25)


def _spread(values: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> Spread:
    return Spread(*(float(value) for value in np.percentile(values, (5, 50, 95))))


def _labelling(records: Sequence[Record]) -> Labelling:
    labels = Counter(record.label for record in records if record.label is not None)
    told = sift(records).records
    return Labelling(
        images=len(records),
        labelled=labels.total(),
        classes=len(labels),
        smallest=min(labels.values(), default=0),
        largest=max(labels.values(), default=0),
        groups=len({record.group for record in records if record.group}),
        splits=dict(Counter(str(record.split) for record in records if record.split)),
        clips=len({record.group for record in records if record.seconds is not None}),
        captioned=sum(bool(record.captions) for record in told),
        captions=len({caption for record in told for caption in record.captions}),
    )


def _groups(sample: Sample) -> tuple[Whole, float]:
    """(n,) equal for images that belong together, and the share of copies among them."""
    groups = np.unique(_named(sample.chosen), return_inverse=True)[1].astype(np.int64)
    first: dict[bytes, int] = {}
    twins: dict[int, list[int]] = {}
    for place, digest in enumerate(sample.digests):
        twins.setdefault(first.setdefault(digest, place), []).append(place)
    together = [*alike(sample.sketches), *(places for places in twins.values() if len(places) > 1)]
    for places in together:
        groups[np.isin(groups, groups[places])] = groups[places[0]]
    return groups, len(set(chain.from_iterable(together))) / len(sample)


def _named(records: Sequence[Record]) -> list[str]:
    """The group of each image: the source's, or else the folder below its class, where there are many, or itself."""
    folders = [_folder(record) for record in records]
    many = len(set(folders) - {""}) >= FOLDERS
    return [
        f"group {record.group}" if record.group else f"folder {folder}" if many and folder else f"path {record.path}"
        for record, folder in zip(records, folders, strict=True)
    ]


def _folder(record: Record) -> str:
    """The folder that an image lies in, unless its name is that of a class or a split."""
    folder, _, _ = record.path.rpartition("/")
    name = folder.rpartition("/")[2]
    return "" if name == record.label or name.lower() in SPLIT_NAMES else folder
