"""Variants of backbone.onnx in fewer bits; each ships only if it passes the gate."""

import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.data.store import Original, Split, open_split, read_originals
from ssl_pipeline.deployment.gate import embed_each, measure
from ssl_pipeline.deployment.halves import Halves, joined, split
from ssl_pipeline.deployment.number_formats import half, integers
from ssl_pipeline.deployment.onnx_file import add_metadata, write_proto
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.deployment.tools import named
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.export_config import Calibration, ExportConfig, Variant, file_name
from ssl_pipeline.products import record, sha256
from ssl_pipeline.progress import say
from ssl_pipeline.terminal import counted

__all__ = ["Pool", "read_pool", "ship_variants"]

_GATE_IMAGES = 500  # validation images that every variant embeds, besides those stored at their original shapes
_TOGETHER = 32  # validation images that it embeds both in one batch and one by one
_BATCH = 16  # calibration images at a time; the values of all layers are in memory


class Pool(NamedTuple):
    """Images with which variants are made and judged. None of them needs a label.

    Attributes:
        train: Training split, from which calibration images are drawn.
        val: Validation split, on which the gate measures.
        originals: Some images of both splits at their original shapes.
    """

    train: Split
    val: Split
    originals: Sequence[Original]


def read_pool(store: Path) -> Pool:
    """Open the images of a store.

    Raises:
        PipelineError: The store is missing or damaged.
    """
    return Pool(open_split(store, "train"), open_split(store, "val"), read_originals(store))


def ship_variants(
    folder: Path, section: ExportConfig, pool: Pool, calibrate: Callable[[Path], Any] = lambda _: {}
) -> dict[str, Any]:
    """Write variants of the backbone.onnx in a folder, and remove those that fail the gate.

    Args:
        folder: Folder of backbone.onnx, which receives the variants.
        section: Section `export` of params.yaml.
        pool: Images with which variants are made and judged.
        calibrate: Function from a file that ships to thresholds of its cosines, for its metadata; see `release`.

    Returns:
        For each variant except fp32: whether it `ships`; the bounds that are `broken`, in words; if it could be written
        and run, the figures of the `gate` and how it was `made`; and if it ships, its `bytes` and `sha256`.

    Raises:
        PipelineError: A variant cannot be made or breaks a bound, and `on_gate_failure` is stop.
    """
    wanted = [variant for variant in section.variants if variant != "fp32"]
    if not wanted:
        return {}
    backbone = folder / file_name("fp32")
    images, own_shapes = _gate_images(pool)
    together = pool.val.images(_evenly(len(pool.val), _TOGETHER))
    exact = embed_each(backbone, images)
    report: dict[str, Any] = {}
    for variant in wanted:
        path = folder / file_name(variant)
        found: dict[str, Any] = {}
        try:
            found["made"] = _write(path, backbone, variant, section.calibration, pool)
            with named(onnx.load(path), f"cannot run this backbone as {variant}"):
                kept = measure(path, backbone, exact, images, together)
        except PipelineError as error:  # it cannot be written, or onnxruntime cannot run it
            if isinstance(error.__cause__, OSError):
                raise  # a full disk says nothing about the variant
            broken = [str(error)]
        else:
            broken = kept.broken(getattr(section.gate, variant))
            found["gate"] = {**kept.figures(), "own_shapes": own_shapes}
        report[variant] = {"ships": not broken, "broken": broken, **found}
        if broken:
            _refuse(path, variant, broken, stop=section.on_gate_failure == "stop")
            continue
        record(path)
        add_metadata(path, {"thresholds": json.dumps(calibrate(path))})  # replaces those of backbone.onnx
        record(path)
        report[variant] |= {"bytes": path.stat().st_size, "sha256": sha256(path)}
    return report


def _gate_images(pool: Pool) -> tuple[list[Pixels], int]:
    """Return validation images (H, W, C), among them all with a stored original shape, and the number of the latter."""
    own = [original.row for original in pool.originals if original.split == pool.val.name]
    rows = np.union1d(_evenly(len(pool.val), _GATE_IMAGES), np.array(own, np.int64))
    return _at_own_shapes(pool.val, rows, pool.originals), len(own)


def _write(path: Path, backbone: Path, variant: Variant, calibration: Calibration, pool: Pool) -> dict[str, Any]:
    """Write a variant; return how it was made."""
    model = onnx.load(backbone)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    made: dict[str, Any] = {}
    with named(model, f"cannot write this backbone as {variant}"):
        halves = split(model)
        if variant == "fp16":
            network = half(halves.network)
        else:
            batches = partial(_calibration_batches, halves.front, calibration, pool)
            network, activations = integers(halves.network, batches, calibration.method)
            told = _told(calibration, pool) if activations == "static" else {"depends_on_batch": True}
            made = {"activations": activations, **told}
        whole = joined(Halves(halves.front, network))
        write_proto(whole, path, {**metadata, "variant": variant, "made": json.dumps(made)})
    return made


def _told(calibration: Calibration, pool: Pool) -> dict[str, Any]:
    count = min(calibration.images, len(pool.train))
    if count < calibration.images:
        say(
            f"export: export.calibration.images is {calibration.images}, but the training split has only "
            f"{counted(count, 'image')}: int8 is calibrated on all of them"
        )
    return {**calibration.model_dump(), "images": count}


def _calibration_batches(front: onnx.ModelProto, calibration: Calibration, pool: Pool) -> list[npt.NDArray[np.float32]]:
    """Return batches of calibration images (n, C, S, S), as the network takes them."""
    order = np.random.default_rng(calibration.seed).permutation(len(pool.train))
    images = _at_own_shapes(pool.train, np.sort(order[: calibration.images]), pool.originals)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "front.onnx")
        onnx.save(front, path)
        session = open_session(path, provider="cpu")
        fitted = [run(session, image[None]) for image in images]
    return [np.concatenate(fitted[start : start + _BATCH]) for start in range(0, len(fitted), _BATCH)]


def _evenly(count: int, most: int) -> npt.NDArray[np.int64]:
    """Return up to `most` evenly spaced positions from 0 to count - 1."""
    return np.linspace(0, max(count - 1, 0), min(count, most)).round().astype(np.int64)


def _at_own_shapes(images: Split, rows: npt.NDArray[np.int64], originals: Sequence[Original]) -> list[Pixels]:
    """Return images (H, W, C) of a split by their rows, at their original shapes if stored, otherwise as canvases."""
    own = {original.row: original.image for original in originals if original.split == images.name}
    stored = images.images(rows)
    return [own.get(int(row), canvas) for row, canvas in zip(rows, stored, strict=True)]


def _refuse(path: Path, variant: Variant, broken: Sequence[str], *, stop: bool) -> None:
    """Remove a file that fails the gate, and print why or stop the stage.

    Raises:
        PipelineError: `stop` is true.
    """
    path.unlink(missing_ok=True)
    reasons = "\n".join(f"- {line}" for line in broken)
    if stop:
        raise PipelineError(
            f"{path.name} fails the gate, and export.on_gate_failure is stop:\n{reasons}\nLeave {variant} out of "
            f"export.variants, loosen export.gate.{variant}, or set on_gate_failure: drop."
        )
    say(f"export: {path.name} fails the gate and does not ship:\n{reasons}")
