"""The proof that an exported graph computes what was trained: torch, rebuilt in a new process, against onnxruntime."""

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.deployment.runtime import open_session, read_metadata, run
from ssl_pipeline.errors import PipelineError

__all__ = ["MAX_DIFFERENCE", "MIN_COSINE", "MIN_VARIATION", "canvas_agreement", "compare", "verify"]

MAX_DIFFERENCE = 1e-4
"""Largest difference between two components, relative to the largest component of their row."""
MIN_COSINE = 0.99999
"""Smallest cosine between torch's row and onnxruntime's."""
MIN_VARIATION = 10 * MAX_DIFFERENCE
"""Smallest std, over the originals, of the component that varies most, relative to the largest component. Outputs that
vary less would agree within the tolerance whatever the image, and so prove nothing."""

Images = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float32]

_TINY = np.finfo(np.float64).tiny  # instead of a division by zero


def verify(path: Path, originals: Sequence[Images], command: Sequence[str]) -> dict[str, Any]:
    """Hold a graph from images to rows (embeddings or probabilities) against torch.

    Args:
        path: The ONNX file; its metadata says of which layer embeddings are, whether they are normalised, and around
            which size to try shapes.
        originals: Real images, uint8 RGB (H, W, 3), of any shapes.
        command: Starts a new process that rebuilds the torch model from its files, such as
            `[sys.executable, "-m", "stages.reference", folder]`; given further the paths of two .npz files, it reads
            batches of images from one and writes what torch makes of each to the other.

    Returns:
        The figures of `compare`, the shapes tried, and the execution providers that onnxruntime used.

    Raises:
        PipelineError: A bound is broken; the message says which, and what to do.
        subprocess.CalledProcessError: The new process failed; its own message is on stderr.
    """
    session = open_session(path)
    metadata = read_metadata(session)
    batches = probes(originals, int(metadata["size"]))
    option = "--l2-normalize" if json.loads(metadata["l2_normalized"]) else "--no-l2-normalize"
    expected = _rebuilt(path, command, batches, ["--layer", metadata["layer"], option])
    actual = {name: run(session, batch) for name, batch in batches.items()}
    figures = compare(expected, actual, probabilities=session.get_outputs()[0].name == "probabilities")
    problems = broken(figures)
    if problems:
        raise PipelineError(f"{path.name} is not what was trained, and is not kept:\n" + "\n".join(problems))
    shapes = sorted({batch.shape[1:3] for batch in batches.values()})
    return {
        **figures,
        "originals": len(originals),
        "shapes": [f"{height}x{width}" for height, width in shapes],
        "batch_sizes": sorted({len(batch) for batch in batches.values()}),
        "providers": session.get_providers(),
    }


def probes(originals: Sequence[Images], size: int) -> dict[str, Images]:
    """The batches to try: every original at its own shape, and what a data set might happen not to hold.

    Args:
        originals: Images (H, W, 3).
        size: The trained size, px; shapes around it make the graph shrink, enlarge and leave alone.

    Returns:
        Name -> (N, H, W, 3). The rows of `batch/2` and `batch/7` are also there alone, as `row/0` to `row/6`.
    """
    batches = {f"original/{number}": image[None] for number, image in enumerate(originals)}
    image = min(originals, key=lambda original: original.size)
    grey = image.mean(axis=2, keepdims=True).astype(np.uint8)
    batches["grey"] = np.repeat(grey, 3, axis=2)[None]
    for height, width in ((1, 1), (size, size), (size // 2, 3 * size + 1), (2 * size + 1, size // 3)):
        batches[f"shape/{height}x{width}"] = _nearest(image, height, width)[None]
    flips = [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]
    rows = np.stack([*flips, *(255 - flip for flip in flips[:3])])
    return batches | {"batch/2": rows[:2], "batch/7": rows} | {f"row/{n}": row[None] for n, row in enumerate(rows)}


def compare(expected: Mapping[str, Rows], actual: Mapping[str, Rows], probabilities: bool = False) -> dict[str, float]:
    """Figures of agreement between what torch and onnxruntime made of the batches of `probes`.

    Args:
        expected: Name -> (N, D), torch's.
        actual: Name -> (N, D), onnxruntime's.
        probabilities: Whether rows are probabilities. How much they vary is then seen in their logarithms: a classifier
            that is sure of itself may give nearly the same probabilities to all images of a class.

    Returns:
        non_finite_torch, non_finite_onnx: How many values are NaN or infinite; only if there are any, and then alone.
        max_difference: Between torch and onnxruntime, relative to the largest component of torch's row.
        row_difference: The same difference between a row in a batch and the same row alone, both onnxruntime's.
        min_cosine: Between torch's row and onnxruntime's.
        variation: See `MIN_VARIATION`.
    """
    torch_rows, onnx_rows = _gather(expected, *expected), _gather(actual, *expected)
    bad = {"torch": (~np.isfinite(torch_rows)).sum(), "onnx": (~np.isfinite(onnx_rows)).sum()}
    if any(bad.values()):
        return {f"non_finite_{side}": float(count) for side, count in bad.items()}
    alone = [f"row/{number}" for number in range(7)]
    originals = [name for name in actual if name.startswith("original/")]
    different = _gather(actual, *(originals if len(originals) > 1 else alone))
    scores = np.log(different.clip(1e-30)) if probabilities else different
    return {
        "max_difference": _difference(torch_rows, onnx_rows),
        "row_difference": _difference(_gather(actual, *alone[:2], *alone), _gather(actual, "batch/2", "batch/7")),
        "min_cosine": float(_cosines(torch_rows, onnx_rows).min()),
        "variation": float(scores.std(axis=0).max() / np.abs(scores).max().clip(_TINY)),
    }


def broken(figures: Mapping[str, float]) -> list[str]:
    """One line for each broken bound, with the figure and what to do."""
    if figures.get("non_finite_torch"):
        return [
            f"- {figures['non_finite_torch']:.0f} of torch's values are NaN or infinite: training diverged; lower "
            "pretrain.optimizer.learning_rate, or set pretrain.clip_norm."
        ]
    if figures.get("non_finite_onnx"):
        return [
            f"- {figures['non_finite_onnx']:.0f} of onnxruntime's values are NaN or infinite, torch's are not: the "
            "backbone has operations that do not export exactly; try another export.opset or pretrain.backbone."
        ]
    problems = []
    if figures["variation"] < MIN_VARIATION:
        problems.append(
            f"- outputs do not vary: std over different images {figures['variation']:.1e} of the largest component, "
            f"bound {MIN_VARIATION:.0e}: the encoder has collapsed, or pretraining was too short for its batch "
            "statistics; see the curves in reports/pretrain, or raise pretrain.epochs."
        )
    if figures["row_difference"] > MAX_DIFFERENCE:
        problems.append(
            f"- rows depend on their batch: {figures['row_difference']:.1e} of the largest component, bound "
            f"{MAX_DIFFERENCE:.0e}: the backbone mixes images (batch statistics in eval mode?); choose another "
            "(pretrain.backbone)."
        )
    if figures["max_difference"] > MAX_DIFFERENCE or figures["min_cosine"] < MIN_COSINE:
        problems.append(
            f"- torch and onnxruntime differ: {figures['max_difference']:.1e} of the largest component, bound "
            f"{MAX_DIFFERENCE:.0e}; smallest cosine {figures['min_cosine']:.7f}, bound {MIN_COSINE}: the backbone has "
            "operations that do not export exactly; try another export.opset or pretrain.backbone."
        )
    return problems


def canvas_agreement(path: Path, originals: Sequence[Images], canvases: Images) -> dict[str, float]:
    """How little it matters whether an image is embedded from its original or from its stored canvas.

    Args:
        path: backbone.onnx.
        originals: n images (H, W, 3).
        canvases: (n, canvas, canvas, 3), as stored.

    Returns:
        Mean and smallest cosine.
    """
    session = open_session(path)
    direct = np.concatenate([run(session, original[None]) for original in originals]).astype(np.float64)
    cosines = _cosines(direct, run(session, canvases).astype(np.float64))
    return {"mean": float(cosines.mean()), "min": float(cosines.min())}


def _rebuilt(
    beside: Path, command: Sequence[str], batches: Mapping[str, Images], options: Sequence[str]
) -> dict[str, Rows]:
    """What torch makes of the batches in a new process, which shares nothing with this one but files beside a path."""
    with tempfile.TemporaryDirectory(dir=beside.parent) as folder:
        inputs, outputs = Path(folder, "inputs.npz"), Path(folder, "outputs.npz")
        np.savez(inputs, **batches)  # type: ignore[arg-type]  # numpy's stub takes the names for its own option
        subprocess.run([*command, str(inputs), str(outputs), *options], check=True)
        with np.load(outputs) as file:
            return {name: file[name] for name in batches}


def _nearest(image: Images, height: int, width: int) -> Images:
    """Another shape by repeating or leaving out pixels, so that the contents stay real."""
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    reshaped: Images = image[rows][:, columns]
    return reshaped


def _gather(rows: Mapping[str, Rows], *names: str) -> npt.NDArray[np.float64]:
    return np.concatenate([rows[name] for name in names]).astype(np.float64)


def _difference(expected: npt.NDArray[np.float64], actual: npt.NDArray[np.float64]) -> float:
    largest = np.abs(expected).max(axis=1, keepdims=True).clip(_TINY)
    return float((np.abs(expected - actual) / largest).max())


def _cosines(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cosines of rows; 1 for equal rows, be they zero."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines: npt.NDArray[np.float64] = (first * second).sum(axis=1) / norms.clip(_TINY)
    return np.where((first == second).all(axis=1), 1.0, cosines)
