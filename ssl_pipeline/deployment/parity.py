"""Proof that an exported graph computes what was trained: onnxruntime compared with torch, rebuilt in a new process."""

import json
import subprocess
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.image_spec import RGB8, ImageSpec, Pixels
from ssl_pipeline.deployment.bounds import BACKBONE, CLASSIFIER
from ssl_pipeline.deployment.core_graph import Core, prove_core
from ssl_pipeline.deployment.proof import Answers, Batches, Proof, Reference, prove, row_cosines
from ssl_pipeline.deployment.runtime import images_of, open_session, read_metadata, run

__all__ = ["canvas_agreement", "probes", "rebuilt", "verify"]

_LARGEST_BATCH = "batch/7"
_ADVICE = "the backbone has operations that do not export exactly; try another export.opset or pretrain.backbone."


def verify(
    path: Path, originals: Sequence[Pixels], command: Sequence[str], *, core: Core | None = None
) -> dict[str, Any]:
    """Compare a graph from images to rows (embeddings or probabilities), and to maps if it has any, with torch.

    Args:
        path: Path of the ONNX file; its metadata states the layer of the embeddings, whether they are normalised, and
            the trained size.
        originals: Real images (H, W, C), of any shapes.
        command: Command that starts a new process and rebuilds the torch model from its files, such as
            `[sys.executable, "-m", "ssl_pipeline", "reference", folder]`. The paths of two .npz files are appended: the
            process reads batches of images from the first and writes torch's answers to the second.
        core: File of the network alone, which is compared with the same answers.

    Returns:
        The figures of the proof, the shapes tried, and the execution providers that onnxruntime used; the figures of
        the core are under `core`, those of each map under `maps`.

    Raises:
        PipelineError: A bound is broken; the message says which, and what to do.
        subprocess.CalledProcessError: The new process failed; its message is on stderr.
    """
    session = open_session(path)
    metadata = read_metadata(session)
    batches = {name: (batch,) for name, batch in probes(originals, int(metadata["size"]), images_of(metadata)).items()}
    option = "--l2-normalize" if json.loads(metadata["l2_normalized"]) else "--no-l2-normalize"
    maps: dict[str, Any] = json.loads(metadata.get("maps", "{}"))
    layers = [option for about in maps.values() for option in ("--map", str(about["layer"]))]
    arrays = {name: images for name, (images,) in batches.items()}
    answers = rebuilt(path, command, ["--layer", metadata["layer"], option, *layers], arrays)
    reference = Reference("torch", [lambda _: answers])
    bounds = CLASSIFIER if session.get_outputs()[0].name == "probabilities" else BACKBONE
    varied = [name for name in batches if name.startswith("original/")] if len(originals) > 1 else [_LARGEST_BATCH]
    proof = prove(path, reference, batches, bounds, _ADVICE, varied=varied)
    proved_maps = {name: _figures(_prove_map(path, name, answers, batches, varied)) for name in maps}
    proved_core = {} if core is None else {"core": _figures(prove_core(core, batches, answers))}
    shapes = sorted({images.shape[1:3] for (images,) in batches.values()})
    return {
        **_figures(proof),
        "originals": len(originals),
        "shapes": [f"{height}x{width}" for height, width in shapes],
        "batch_sizes": sorted({len(images) for (images,) in batches.values()}),
        "providers": proof.providers,
        **proved_core,
        **({"maps": proved_maps} if maps else {}),
    }


def _prove_map(path: Path, name: str, answers: Answers, batches: Batches, varied: Collection[str]) -> Proof:
    """Compare one map of a graph with torch's, as one long row within the bounds of embeddings."""
    told = {batch: answers[f"{name}/{batch}"] for batch in batches}
    return prove(path, Reference("torch", [lambda _: told]), batches, BACKBONE, _ADVICE, varied=varied, output=name)


def _figures(proof: Proof) -> dict[str, float]:
    return {
        "max_difference": proof.max_difference,
        "row_difference": proof.row_difference,
        "min_cosine": proof.min_cosine,
        "variation": proof.variation,
    }


def probes(originals: Sequence[Pixels], size: int, spec: ImageSpec = RGB8) -> dict[str, Pixels]:
    """Return the batches to try: every original at its own shape, and cases that a data set may happen to lack.

    Args:
        originals: Images (H, W, C) of any shapes.
        size: Trained size in px; shapes around it make the graph shrink, enlarge and keep images.
        spec: Meaning of the images' values.

    Returns:
        Name -> images (N, H, W, C). The seven images of `batch/7` all differ.
    """
    batches = {f"original/{number}": image[None] for number, image in enumerate(originals)}
    image = min(originals, key=lambda original: original.size)
    grey = image.mean(axis=2, keepdims=True).astype(spec.numpy_dtype)
    batches["grey"] = np.repeat(grey, spec.channels, axis=2)[None]
    for height, width in ((1, 1), (size, size), (size // 2, 3 * size + 1), (2 * size + 1, size // 3)):
        batches[f"shape/{height}x{width}"] = _nearest(image, height, width)[None]
    flips = [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]
    rows = np.stack([*flips, *(_inverted(flip, spec) for flip in flips[:3])])
    if spec.may_lack_pixels:
        nothing = spec.numpy_dtype.type(np.nan if spec.nodata is None else spec.nodata)
        batches["unmeasured/all"] = np.full_like(image, nothing)[None]
        batches["unmeasured/part"] = np.where(np.arange(image.shape[1])[:, None] % 3 > 0, image, nothing)[None]
    return batches | {"batch/2": rows[:2], _LARGEST_BATCH: rows}


def canvas_agreement(path: Path, originals: Sequence[Pixels], canvases: Pixels) -> dict[str, float]:
    """Measure the agreement between embeddings of original images and of their stored canvases.

    Args:
        path: Path of backbone.onnx.
        originals: Images (H, W, C), n of them, of any shapes.
        canvases: The same images (n, canvas, canvas, C) as stored.

    Returns:
        The mean and the smallest cosine.
    """
    session = open_session(path)
    direct = np.concatenate([run(session, original[None]) for original in originals]).astype(np.float64)
    found = row_cosines(direct, run(session, canvases).astype(np.float64))
    return {"mean": float(found.mean()), "min": float(found.min())}


def rebuilt(
    beside: Path, command: Sequence[str], options: Sequence[str], arrays: Mapping[str, npt.NDArray[Any]]
) -> Answers:
    """Return torch's answers from a new process, which shares with this one only files in the folder of the graph.

    Args:
        beside: Path of the graph.
        command: Command that starts the process; see `verify`.
        options: Options to append to the command.
        arrays: Name -> input array.
    """
    with tempfile.TemporaryDirectory(dir=beside.parent) as folder:
        inputs, outputs = Path(folder, "inputs.npz"), Path(folder, "outputs.npz")
        np.savez(inputs, **arrays)  # type: ignore[arg-type]  # numpy's stub takes names for its own option
        subprocess.run([*command, str(inputs), str(outputs), *options], check=True)
        with np.load(outputs) as file:
            return {name: file[name] for name in file.files}


def _nearest(image: Pixels, height: int, width: int) -> Pixels:
    """Resize an image by repeating or dropping pixels, so that its contents stay real."""
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    reshaped: Pixels = image[rows][:, columns]
    return reshaped


def _inverted(image: Pixels, spec: ImageSpec) -> Pixels:
    """Return an image with its scale inverted, in the same type; values beyond the scale are clipped to the type."""
    turned = spec.low + spec.high - image.astype(np.float64)
    if spec.dtype != "float32":
        turned = turned.clip(0, np.iinfo(spec.dtype).max)
    return turned.astype(spec.numpy_dtype)
