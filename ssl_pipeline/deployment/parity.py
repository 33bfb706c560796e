"""The proof that an exported graph computes what was trained: torch, rebuilt in a new process, against onnxruntime."""

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
    """Hold a graph from images to rows (embeddings or probabilities), and to maps beside them, against torch.

    Args:
        path: The ONNX file; its metadata says of which layer embeddings are, whether they are normalised, and around
            which size to try shapes.
        originals: Real images (H, W, C), of any shapes.
        command: Starts a new process that rebuilds the torch model from its files, such as
            `[sys.executable, "-m", "ssl_pipeline", "reference", folder]`; given further the paths of two .npz files, it
            reads batches of images from one and writes what torch makes of each to the other.
        core: The file of the network alone, which is held against the same answers.

    Returns:
        The figures of the proof, the shapes tried, and the execution providers that onnxruntime used; those of the core
        under `core`, and those of each map under `maps`.

    Raises:
        PipelineError: A bound is broken; the message says which, and what to do.
        subprocess.CalledProcessError: The new process failed; its own message is on stderr.
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
    """Hold one map of a graph against torch's, within the bounds of embeddings: a map is one long row."""
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
    """Return the batches to try: every original at its own shape, and what a data set might happen not to hold.

    Args:
        originals: Images (H, W, C).
        size: The trained size, px; shapes around it make the graph shrink, enlarge and leave alone.
        spec: What the images' values mean.

    Returns:
        Name -> (N, H, W, C). The seven images of `batch/7` all differ.
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
    """Measure how little it matters whether an image is embedded from its original or from its stored canvas.

    Args:
        path: backbone.onnx.
        originals: n images (H, W, C).
        canvases: (n, canvas, canvas, C) images, as stored.

    Returns:
        Mean and smallest cosine.
    """
    session = open_session(path)
    direct = np.concatenate([run(session, original[None]) for original in originals]).astype(np.float64)
    found = row_cosines(direct, run(session, canvases).astype(np.float64))
    return {"mean": float(found.mean()), "min": float(found.min())}


def rebuilt(
    beside: Path, command: Sequence[str], options: Sequence[str], arrays: Mapping[str, npt.NDArray[Any]]
) -> Answers:
    """Return what torch answers in a new process, which shares nothing with this one but files beside a path.

    Args:
        beside: The path of the graph.
        command: Starts the process; see `verify`.
        options: Its options.
        arrays: Name -> what it is given.
    """
    with tempfile.TemporaryDirectory(dir=beside.parent) as folder:
        inputs, outputs = Path(folder, "inputs.npz"), Path(folder, "outputs.npz")
        np.savez(inputs, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own option
        subprocess.run([*command, str(inputs), str(outputs), *options], check=True)
        with np.load(outputs) as file:
            return {name: file[name] for name in file.files}


def _nearest(image: Pixels, height: int, width: int) -> Pixels:
    """Bring images to another shape by repeating or leaving out pixels, so that the contents stay real."""
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    reshaped: Pixels = image[rows][:, columns]
    return reshaped


def _inverted(image: Pixels, spec: ImageSpec) -> Pixels:
    """Return the image with its scale turned round, in its own type; values beyond the scale stay in its range."""
    turned = spec.low + spec.high - image.astype(np.float64)
    if spec.dtype != "float32":
        turned = turned.clip(0, np.iinfo(spec.dtype).max)
    return turned.astype(spec.numpy_dtype)
