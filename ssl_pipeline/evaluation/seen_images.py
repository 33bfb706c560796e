"""Training and validation images together, and views of them; unlike test images, they may be used freely."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ssl_pipeline.augment.display import stored
from ssl_pipeline.augment.policy import Policies
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.data.image_spec import ImageSpec, Pixels
from ssl_pipeline.data.labels import Labels as StoredLabels
from ssl_pipeline.data.store import Split
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.evaluation.features import sample

__all__ = ["SeenImages", "SeenViews", "choose_seen"]

Images = Pixels
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SeenImages:
    """Images from several splits.

    Attributes:
        splits: Splits that contain the images.
        owners: Index in `splits` of each image's split, (n,).
        rows: Row of each image in its split, (n,).
        labels: Class numbers (n,); -1 for an image without a label.
        groups: Group numbers (n,), equal for images of one group, such as the frames of a track.
    """

    splits: tuple[Split, ...]
    owners: Labels
    rows: Labels
    labels: Labels
    groups: Labels

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def places(self) -> tuple[tuple[Split, ...], Labels, Labels]:
        """The splits, and for each image the number (n,) of its split and its row (n,) there."""
        return self.splits, self.owners, self.rows

    @property
    def classes(self) -> int:
        """Number of classes among the labels."""
        return len(np.unique(self.labels[self.labels >= 0]))

    @property
    def spec(self) -> ImageSpec:
        """Meaning of the images' values."""
        return self.splits[0].spec

    @property
    def ids(self) -> npt.NDArray[np.uint64]:
        """Ids of the images, (n,)."""
        ids = np.empty(len(self), np.uint64)
        for number, split in enumerate(self.splits):
            ids[self.owners == number] = split.ids[self.rows[self.owners == number]]
        return ids

    def images(self, positions: Labels) -> Images:
        """Return the images (m, canvas, canvas, C) at positions (m,) in [0, n)."""
        owners, rows = self.owners[positions], self.rows[positions]
        gathered = np.empty(
            (len(positions), self.splits[0].canvas, self.splits[0].canvas, self.spec.channels), self.spec.numpy_dtype
        )
        for number, split in enumerate(self.splits):
            gathered[owners == number] = split.images(rows[owners == number])
        return gathered


def choose_seen(splits: tuple[Split, Split], known: tuple[StoredLabels, StoredLabels], count: int) -> SeenImages:
    """Choose images of train and val, spread evenly: labelled images first, then unlabelled ones to fill up.

    Args:
        splits: Splits train and val.
        known: Labels and groups of the images in train and in val.
        count: Largest number of images to choose.
    """
    train, val = known
    labels = np.concatenate([train.labels, val.labels])
    groups = np.concatenate([train.groups, len(train.groups) + val.groups])  # no group is in both
    owners = np.repeat([0, 1], [len(split) for split in splits])
    places = np.concatenate([np.arange(len(split)) for split in splits])
    named, nameless = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    named = named[sample(named, count)]
    chosen = np.sort(np.concatenate([named, nameless[sample(nameless, count - len(named))]]))
    return SeenImages(splits, owners[chosen], places[chosen], labels[chosen], groups[chosen])


@dataclass(frozen=True)
class SeenViews:
    """One view of each image, made on request.

    Attributes:
        seen: The n images.
        policies: Policies of the views, with the seed of their random numbers.
        kind: Kind of view, `linear_eval.clusters.view`.

    Raises:
        ConfigError: The policies have no view of this kind.
    """

    seen: SeenImages
    policies: Policies
    kind: str

    def __post_init__(self) -> None:
        if self.kind not in self.policies.views:
            known = ", ".join(sorted(self.policies.views))
            raise ConfigError(f"linear_eval.clusters.view: unknown kind of view '{self.kind}'. Known: {known}.")

    def __len__(self) -> int:
        return len(self.seen)

    def images(self, positions: Labels) -> Images:
        """Return views (m, S, S, C) of the images at positions (m,) in [0, n), in the format of the store."""
        canvases, ids = torch.from_numpy(self.seen.images(positions)), self.seen.ids[positions]
        made = make_views(self.policies.views, {self.kind: 1}, canvases, ids, self.policies.seed, 0, self.seen.spec)
        return stored(made[self.kind][:, 0], self.seen.spec)
