"""The findings of one question about the images, and the data that all questions share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.curation.catalogue import Catalogue
from ssl_pipeline.curation.near_duplicates import NearDuplicates
from ssl_pipeline.curation.neighbourhood import Neighbourhood
from ssl_pipeline.data.groups import Groups

__all__ = ["LISTED", "Finding", "Seen", "cells", "end_of"]

Numbers = npt.NDArray[np.int64]

LISTED = 100
"""Largest number of pairs or images listed in details.json; images.csv has all of them."""
_NAME = 34  # characters of a path in a picture


@dataclass(frozen=True)
class Finding:
    """The findings of one question.

    Attributes:
        figures: Section of details.json on this question.
        columns: Name of a column of images.csv -> cells (n,).
        lines: Findings as sentences.
        headline: Figures for metrics.json.
        pictures: Functions, each of which draws a picture into the folder that it is called with.
    """

    figures: Any
    columns: Mapping[str, Sequence[Any]]
    lines: Sequence[str] = ()
    headline: Mapping[str, float] = field(default_factory=dict)
    pictures: Sequence[Callable[[Path], None]] = ()


class Seen(NamedTuple):
    """The data that all questions share: images, neighbours and near-duplicates."""

    catalogue: Catalogue
    around: Neighbourhood
    duplicates: NearDuplicates

    def path(self, number: int) -> str:
        """Return the path of an image."""
        return self.catalogue.rows[number].path

    def kin(self) -> Numbers:
        """Return numbers (n,), equal for images that must be in the same fold: those of a group, and near-duplicates.

        A probe that was fitted on a copy of an image, with its label, would merely repeat that label.
        """
        names = zip(self.catalogue.groups.tolist(), self.duplicates.groups.tolist(), strict=True)
        joined = Groups([[f"group {group}"] + [f"copies {copies}"] * (copies >= 0) for group, copies in names])
        return np.array([joined.root(number) for number in range(len(self.catalogue))], np.int64)


def cells(values: npt.NDArray[Any]) -> list[str]:
    """Return numbers as cells of images.csv; NaN becomes ""."""
    return ["" if np.isnan(value) else f"{value:.4f}" for value in values.tolist()]


def end_of(path: str) -> str:
    """Return the end of a path, which is more informative than its beginning."""
    return path if len(path) <= _NAME else "…" + path[1 - _NAME :]
