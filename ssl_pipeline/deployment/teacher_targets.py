"""A teacher's embeddings of a pool: of each whole image once, cached by content, or of the views in each step."""

import math
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssl_pipeline import ranks
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.teachers import OpenedTeacher
from ssl_pipeline.guard import hold
from ssl_pipeline.products import atomic_file, digest
from ssl_pipeline.progress import say, track
from ssl_pipeline.training.targets import AskedTargets, KeptTargets, TeacherTargets, finite

__all__ = ["targets_of"]

_FORMAT = 1  # to be raised if the same teacher would give other embeddings of the same images
_BLOCK = 1024  # images whose embeddings are written at once, and survive if the process dies
_AVERAGED = 1024  # images for the mean if not all are embedded
_KEPT = 4  # pairs of teacher and pool whose embeddings stay in the cache

Features = npt.NDArray[np.float32]


def targets_of(teacher: OpenedTeacher, pool: Split, kind: str, folder: Path) -> TeacherTargets:
    """Return a teacher's embeddings of the images of a pool. All ranks call this function, and share the work.

    Embeddings of whole images are cached in one folder per teacher and pool, identified by their content. They are
    written in blocks, so that a run that has died resumes after the last complete block.

    Args:
        teacher: Opened teacher.
        pool: Training images.
        kind: Kind of view for a teacher that embeds views.
        folder: Folder of the cache.

    Raises:
        PipelineError: The teacher returns NaN or infinity.
    """
    key = digest({"format": _FORMAT, "teacher": teacher.sha256, "pool": pool.sha256})
    own = folder / key[:32]
    if ranks.leads():
        _forget_old(folder, own)
        own.mkdir(parents=True, exist_ok=True)
        own.touch()
    if teacher.teaching.targets == "once":
        features = _kept(teacher, pool, own)
        return KeptTargets(features, np.load(own / "mean.npy") if teacher.teaching.centre else 0.0)
    mean = _mean(teacher, pool, own) if teacher.teaching.centre else 0.0
    return AskedTargets(teacher.embed, mean, kind, pool.spec)


def _kept(teacher: OpenedTeacher, pool: Split, folder: Path) -> Features:
    """Return embeddings (n, D) of all images, mapped into memory; missing ones are computed."""
    path = folder / "embeddings.npy"
    with hold(folder / "lock", patience=math.inf) if ranks.leads() else nullcontext():  # against concurrent runs
        if not ranks.told(path.is_file()):
            _make(teacher, pool, folder, path)
    features: Features = np.load(path, mmap_mode="r")
    return features


def _make(teacher: OpenedTeacher, pool: Split, folder: Path, path: Path) -> None:
    """Compute the missing blocks, shared among the ranks, and join all blocks in one file."""
    starts = range(0, len(pool), _BLOCK)
    missing = ranks.told([start for start in starts if not _block(folder, start).is_file()])
    if ranks.leads() and len(missing) < len(starts):
        say(f"pretrain: {len(starts) - len(missing)} of {len(starts)} blocks of the teacher's embeddings already exist")
    mine = [missing[number] for number in ranks.share(len(missing))]
    for start in track(iter(mine), "teacher", total=len(mine)):
        rows = np.arange(start, min(start + _BLOCK, len(pool)))
        _write(_block(folder, start), finite(teacher.embed(pool.images(rows))))
    ranks.gathered(None)  # wait until all blocks exist
    if ranks.leads():
        _join(folder, path, starts, (len(pool), teacher.teaching.dim))
    ranks.gathered(None)


def _join(folder: Path, path: Path, starts: range, shape: tuple[int, int]) -> None:
    """Write all blocks as one file, and their mean; remove the blocks."""
    total = np.zeros(shape[1])
    with atomic_file(path) as temporary:
        whole = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        for start in starts:
            block = np.load(_block(folder, start))
            whole[start : start + len(block)] = block
            total += block.sum(axis=0, dtype=np.float64)
        whole.flush()
        del whole
        _write(folder / "mean.npy", (total / shape[0]).astype(np.float32))
    for start in starts:
        _block(folder, start).unlink()


def _mean(teacher: OpenedTeacher, pool: Split, folder: Path) -> Features:
    """Return the mean (D,) of the embeddings of some images, evenly spread over the pool."""
    path = folder / "sampled_mean.npy"
    if ranks.leads() and not path.is_file():
        rows = np.linspace(0, len(pool) - 1, min(_AVERAGED, len(pool))).round().astype(np.int64)
        _write(path, finite(teacher.embed(pool.images(rows))).mean(axis=0, dtype=np.float64).astype(np.float32))
    ranks.gathered(None)
    mean: Features = np.load(path)
    return mean


def _block(folder: Path, start: int) -> Path:
    return folder / f"block-{start:09}.npy"


def _write(path: Path, values: Features) -> None:
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, values)


def _forget_old(folder: Path, own: Path) -> None:
    """Remove the least recently used folders of the cache."""
    others = sorted((one for one in _folders(folder) if one != own), key=lambda one: one.stat().st_mtime)
    for one in others[: max(0, len(others) - _KEPT + 1)]:
        shutil.rmtree(one, ignore_errors=True)


def _folders(folder: Path) -> Iterator[Path]:
    return (one for one in folder.glob("*") if one.is_dir())
