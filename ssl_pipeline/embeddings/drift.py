"""Detecting drift: test whether a batch of images has the distribution of the training images, by their embeddings.

The test compares the batch with validation images, which nothing was trained on. It measures the energy distance
(Székely and Rizzo 2013, "Energy statistics", eq. 5), 2 E|X - Y| - E|X - X'| - E|Y - Y'|, of whitened embeddings. The
threshold comes from permutations of batch and validation images: if both are independent draws from one distribution,
the rate of alarms does not exceed the stated one, whatever the number of images. Independence is why the reference has
one image per group. The principal directions come from training images: if they came from the validation images alone,
the two samples would not be treated alike, and the test would raise false alarms.

This module imports neither torch nor Pillow.
"""

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.neighbours import check_finite
from ssl_pipeline.products import atomic_file
from ssl_pipeline.terminal import brief, shown

__all__ = ["FEWEST", "MOST", "NAME", "Reference", "Verdict", "judge", "reference_of"]

NAME = "drift.npz"
FEWEST = 10
"""Smallest number of images in a batch; with fewer, the test detects hardly anything."""
FEWEST_REFERENCES, MOST = 50, 2000
"""Smallest number of validation images, and largest number of images from either side that are compared."""
PERMUTATIONS = 999
_RIDGE = 1e-3
"""Added to the variance of every direction, as a share of the largest variance: smaller variances are noise."""
_DIRECTIONS = 256
_DIFFERS = 0.01
"""Largest p-value at which training images are reported to differ in origin from validation images."""
_NEIGHBOURS = 5
_BLOCK = 256

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Reference:
    """Statistics of the images that a model was made for, as the bundle stores them.

    Attributes:
        rows: Whitened embeddings (m, K) of validation images, one per group, rounded to float16.
        mean: Mean embedding (D,) of training images.
        directions: Principal directions (D, K) of training images, up to 256 with the largest variance, each divided by
            its standard deviation.
        distances: Distance (m,) of each row to its fifth nearest neighbour among the other rows, in ascending order.
        about: Further facts: the digest of the model, the settings of the canvases, and `train_p_value`, the p-value of
            training images as a batch.
    """

    rows: Rows
    mean: Rows
    directions: Rows
    distances: Rows
    about: dict[str, Any]

    @property
    def resembles_training(self) -> bool:
        """Whether training images pass the test against the reference; True if that was not tested."""
        p_value = self.about.get("train_p_value")
        return p_value is None or p_value > _DIFFERS

    def whitened(self, embeddings: Rows) -> Rows:
        """Return embeddings (n, D) whitened and rounded like `rows`, as (n, K)."""
        return _rounded((embeddings - self.mean) @ self.directions)

    def write(self, path: Path) -> None:
        """Write the reference to a file; equal references give equal bytes."""
        about = np.array(json.dumps(self.about))
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                rows=self.rows.astype(np.float16),
                mean=self.mean,
                directions=self.directions,
                distances=self.distances,
                about=about,
            )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a reference that `write` has written.

        Raises:
            PipelineError: The file is missing or damaged.
        """
        if not path.is_file():
            raise PipelineError(
                f"{shown(str(path), 200)} does not exist: name a bundle that contains one. The stage bundle writes it "
                f"for models of 8-bit RGB images if validation images are from at least {FEWEST_REFERENCES} groups."
            )
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
                arrays = {name: found[name].astype(np.float32) for name in ("rows", "mean", "directions", "distances")}
                return cls(**arrays, about=json.loads(str(found["about"])))
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise PipelineError(
                f"{shown(str(path), 200)} is damaged ({brief(error)}): copy the bundle again."
            ) from error


class Verdict(NamedTuple):
    """Result of the test of a batch.

    Attributes:
        score: Energy distance divided by the threshold; above 1 is an alarm.
        p_value: Share of permutations with at least this distance, from 1 / 1000 to 1.
        alarm: Whether the p-value does not exceed the requested rate.
        compared: Number of images of the batch that were compared.
        drives: Contribution (n,) of each image to the distance: its mean distance to the reference less that to the
            batch. The images that drive the alarm have the largest values.
        rarer_than: Share (n,) of reference images that lie closer to the rest of the reference than each image does.
    """

    score: float
    p_value: float
    alarm: bool
    compared: int
    drives: Rows
    rarer_than: Rows


def reference_of(training: Rows, validation: Rows, about: dict[str, Any]) -> Reference | None:
    """Make a reference, or return None if there are fewer than `FEWEST_REFERENCES` images in either sample.

    Args:
        training: Embeddings (n, D) of training images, for the principal directions.
        validation: Embeddings (m, D) of images that the model was not trained on, one per group.
        about: Further facts to store.
    """
    if len(validation) < FEWEST_REFERENCES or len(training) < FEWEST_REFERENCES:
        return None
    mean = training.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(np.cov(training.T.astype(np.float64)))  # in ascending order
    variances, directions = variances[-_DIRECTIONS:], directions[:, -_DIRECTIONS:]
    scale = np.sqrt(np.maximum(variances, 0) + max(_RIDGE * variances.max(), np.finfo(np.float32).tiny))
    made = Reference(validation, mean.astype(np.float32), (directions / scale).astype(np.float32), validation, about)
    rows = made.whitened(validation)
    distances = np.sort(_neighbour_distances(rows, rows, _NEIGHBOURS + 1))  # the nearest to a row is the row itself
    return Reference(rows, made.mean, made.directions, distances, about)


def judge(reference: Reference, embeddings: Rows, rate: float = 0.01) -> Verdict:
    """Test a batch of images; the same batch in the same order gets the same verdict.

    Args:
        reference: Reference of the bundle.
        embeddings: Embeddings (n, D) of images from different groups, computed by the model of the reference.
        rate: Rate of false alarms: the share of batches from the same distribution that may raise one, 0.001 to 0.5.

    Raises:
        PipelineError: There are fewer than `FEWEST` images, or an embedding is not finite.
        ValueError: The rate is outside 0.001 to 0.5, the range that the permutations can resolve.
    """
    if not 1 / (PERMUTATIONS + 1) <= rate <= 0.5:
        raise ValueError(f"rate must be from {1 / (PERMUTATIONS + 1)} to 0.5, got {rate}")
    if len(embeddings) < FEWEST:
        raise PipelineError(
            f"{len(embeddings)} different images are too few for a test: give at least {FEWEST}, preferably 50 or more."
        )
    check_finite(embeddings, "of image {:,}")
    rows, chance = reference.whitened(embeddings), np.random.default_rng(0)
    some = rows[np.sort(chance.permutation(len(rows))[:MOST])]
    found, permuted = _energies(some, reference.rows, chance)
    allowed = int(rate * (PERMUTATIONS + 1) + 1e-9) - 1  # permutations that may reach it in an alarm
    threshold = np.sort(permuted)[::-1][allowed]
    p_value = (1 + int((permuted >= found).sum())) / (PERMUTATIONS + 1)
    score = found / max(threshold, np.finfo(np.float64).tiny)
    nearest = _neighbour_distances(rows, reference.rows, _NEIGHBOURS)
    rarer = np.searchsorted(reference.distances, nearest) / len(reference.distances)
    drives = _mean_distances(rows, reference.rows) - _mean_distances(rows, some)
    return Verdict(float(score), p_value, p_value <= rate, len(some), drives, rarer.astype(np.float32))


def _energies(batch: Rows, reference: Rows, chance: np.random.Generator) -> tuple[float, npt.NDArray[np.float64]]:
    """Return the energy distance between batch and reference, and the distances for permutations of both."""
    pooled = np.concatenate([batch, reference])
    count, other = len(batch), len(reference)
    chosen = np.zeros((len(pooled), PERMUTATIONS + 1), np.float32)
    chosen[:count, 0] = 1
    keys = chance.random((PERMUTATIONS, len(pooled)), np.float32)
    np.put_along_axis(chosen[:, 1:].T, np.argpartition(keys, count, axis=1)[:, :count], 1, axis=1)
    within, totals = np.zeros(PERMUTATIONS + 1), np.zeros(len(pooled))
    for start in range(0, len(pooled), _BLOCK):  # never all distances at once
        part = slice(start, start + _BLOCK)
        distances = _distances(pooled[part], pooled)
        totals[part] = distances.sum(axis=1, dtype=np.float64)
        within += np.einsum("ij,ij->j", distances @ chosen, chosen[part], dtype=np.float64)
    across = chosen.T.astype(np.float64) @ totals - within
    rest = totals.sum() - 2 * across - within
    energies = 2 * across / (count * other) - within / count**2 - rest / other**2
    return float(energies[0]), energies[1:]


def _distances(rows: Rows, others: Rows) -> Rows:
    squares = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * rows @ others.T
    distances: Rows = np.sqrt(np.maximum(squares, 0))
    return distances


def _mean_distances(rows: Rows, others: Rows) -> Rows:
    starts = range(0, len(rows), _BLOCK)
    return np.concatenate([_distances(rows[start : start + _BLOCK], others).mean(axis=1) for start in starts])


def _neighbour_distances(rows: Rows, others: Rows, k: int) -> Rows:
    """Return the distance (n,) of each row to its k-th nearest neighbour in `others`."""
    starts = range(0, len(rows), _BLOCK)
    return np.concatenate(
        [np.partition(_distances(rows[start : start + _BLOCK], others), k - 1, axis=1)[:, k - 1] for start in starts]
    )


def _rounded(rows: npt.NDArray[np.floating]) -> Rows:
    """Round rows to float16, the precision of the file, so that both samples are treated alike."""
    rounded: Rows = np.clip(rows, -60_000, 60_000).astype(np.float16).astype(np.float32)
    return rounded
