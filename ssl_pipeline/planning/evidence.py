"""Fingerprint of a data set from a sample of its images, from which settings are proposed."""

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
"""Number of images for the test of mirrors; with so many, a share of 50% is known to within three points."""
GREY = 4 / 255
"""Largest mean difference of channels of a grey image, as a share of the full scale; JPEG compression leaves some."""
FOLDERS = 20
"""Number of folders below the classes from which they are treated as groups, such as tracks or patients."""


@dataclass(frozen=True)
class Spread:
    """Range of a value in 90% of the images: the 5th, 50th and 95th percentile."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Labelling:
    """Labels, groups, splits and captions that the source states for all its images.

    Attributes:
        images: Number of images.
        labelled: Number of images with a label.
        classes: Number of different labels.
        smallest: Number of images in the smallest class; 0 without classes.
        largest: Number of images in the largest class; 0 without classes.
        groups: Number of groups that the source names.
        splits: Split that the source names -> number of its images.
        clips: Number of clips whose frames are among the images.
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
    """Fingerprint of a data set.

    Attributes:
        labelling: Labels, groups, splits and captions of all images.
        sampled: Number of images that were decoded; the following attributes describe these.
        rejects: Kind of reason -> paths of unusable images.
        images_per_second: Decoding speed with all cores, in images per second.
        short_side: Shorter side, in px.
        aspect: Ratio of width to height.
        pixels: Value of `ingest.pixels` with which the images were read.
        spec: Channels and type of the images.
        grey: Share of the images without colours, in [0, 1].
        saturation: Mean difference of the largest and the smallest channel, as a share of the full scale; 0 if the
            bands are not colours.
        detail: Side in px -> share of the variance of an image's pixels that remains at that side, for sides up to the
            median of the shorter sides.
        copies: Share of the images that are exact or near copies of other images in the sample.
        told: Transformation -> accuracy of a classifier that tells images from their transformed copies; empty if there
            are too few images.
    """

    labelling: Labelling
    sampled: int
    rejects: Mapping[str, Sequence[str]]
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
    def unusable(self) -> int:
        """Number of unusable images."""
        return sum(map(len, self.rejects.values()))

    @property
    def usable(self) -> int:
        """Expected number of usable images in the whole data set."""
        tried = self.sampled + self.unusable
        return round(self.labelling.images * self.sampled / tried)


def examine(sample: Sample) -> Evidence:
    """Return the fingerprint from a sample of at least one image."""
    chunks = range(0, len(sample), 256)  # as floats, all images at once would need too much memory
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
    """Statistics of some images; `kept` holds sums of variances at each of SIDES."""

    thumbnails: Float
    grey: npt.NDArray[np.bool_]
    saturation: Float
    kept: npt.NDArray[np.float64]


def _shares(sample: Sample, part: slice) -> Float:
    """Return some canvases as shares of the full scale, in [0, 1]."""
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
    """Return the means (n, S, S, C) of blocks of four pixels of images (n, 2 S, 2 S, C)."""
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
    """Return group numbers (n,), equal for images that belong together, and the share of copies."""
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
    """Return the group of each image: the source's, the folder below its class if there are many, or the image."""
    folders = [_folder(record) for record in records]
    many = len(set(folders) - {""}) >= FOLDERS
    return [
        f"group {record.group}" if record.group else f"folder {folder}" if many and folder else f"path {record.path}"
        for record, folder in zip(records, folders, strict=True)
    ]


def _folder(record: Record) -> str:
    """Return the folder of an image; "" if its name is that of the image's class or of a split."""
    folder, _, _ = record.path.rpartition("/")
    name = folder.rpartition("/")[2]
    return "" if name == record.label or name.lower() in SPLIT_NAMES else folder
