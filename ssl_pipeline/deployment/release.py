"""From a trained task to verified files: the steps of the stage `export`, in order."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from ssl_pipeline.artifacts.assembly import cut
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.data.store import open_split, read_originals
from ssl_pipeline.deployment.backbone_graph import export_backbone_and_core
from ssl_pipeline.deployment.core_graph import Core
from ssl_pipeline.deployment.energy_graph import export_energy, prove_energy
from ssl_pipeline.deployment.maps_graph import export_maps, layers_of
from ssl_pipeline.deployment.onnx_file import add_metadata
from ssl_pipeline.deployment.parity import canvas_agreement, verify
from ssl_pipeline.deployment.runtime import TEXT
from ssl_pipeline.deployment.text_release import release_text
from ssl_pipeline.export_config import GraphConfig
from ssl_pipeline.parts.heads import CosineEnergy
from ssl_pipeline.products import record, sha256
from ssl_pipeline.progress import say
from ssl_pipeline.types import PretextTask

__all__ = ["Evidence", "headline", "in_short", "read_evidence", "release"]

_MAX_PROVED_WITH_MAPS = 16
"""Number of originals on which maps are proved; maps are a hundred times as large as embeddings."""
_CAPTIONS = 8  # taken from each split


@dataclass(frozen=True)
class Evidence:
    """Inputs on which the graphs are tried.

    Attributes:
        originals: Images (H, W, C) at their original shapes.
        canvases: The same images (n, canvas, canvas, C) as stored.
        captions: Captions of some training and validation images, perhaps none.
    """

    originals: Sequence[Pixels]
    canvases: Pixels
    captions: Sequence[str] = ()


def read_evidence(store: Path) -> Evidence:
    """Read the inputs on which the graphs are tried from the store.

    Raises:
        PipelineError: The store is missing or damaged.
    """
    originals = read_originals(store)
    splits = {name: open_split(store, name) for name in ("train", "val")}
    canvases = [splits[original.split].images(np.array([original.row])) for original in originals]
    captions = [islice(split.captions.all(), _CAPTIONS) for split in splits.values() if split.captions is not None]
    return Evidence([original.image for original in originals], np.concatenate(canvases), list(chain(*captions)))


def release(
    folder: Path,
    task: PretextTask,
    card: ModelCard,
    section: GraphConfig,
    evidence: Evidence,
    reference: Sequence[str],
    trained: Path,
    origin: Mapping[str, str] | None = None,
    calibrate: Callable[[Path], Any] = lambda _: {},
) -> dict[str, Any]:
    """Write backbone.onnx, backbone_core.onnx, energy.onnx and, if requested, backbone_maps.onnx; prove each.

    For a task with a text tower, text.onnx and tokenizer.json are written as well, provided that the last layer ships:
    the embeddings of other layers lie in another space.

    Args:
        folder: Folder that receives the files, to be discarded if this raises an error.
        task: Task with the trained encoder and, perhaps, an energy head.
        card: Card of the encoder.
        section: Settings of the graph, from the section `export` of params.yaml.
        evidence: Inputs on which the graphs are tried.
        reference: Command that starts a new process and rebuilds the encoder; see `parity.verify`.
        trained: Folder of the trained model, which contains the tokenizer of a text tower.
        origin: Metadata of all files about the data and the licence.
        calibrate: Function from the proved backbone to thresholds of its cosines, for the metadata.

    Returns:
        All figures, for details.json.

    Raises:
        ConfigError: The backbone lacks a layer or a map that the section names.
        PipelineError: A graph does not compute what was trained.
    """
    backbone, energy = folder / "backbone.onnx", folder / "energy.onnx"
    core = Core(folder / "backbone_core.onnx", None if section.core_batch == "dynamic" else section.core_batch)
    whole = task.encoder, card
    shipped = cut(*whole, None if section.layer == "last" else section.layer)
    layers = layers_of(section.outputs, *whole)
    export_backbone_and_core(*shipped, backbone, core, l2_normalize=section.l2_normalize, opset=section.opset)
    parity = verify(backbone, evidence.originals, reference, core=core)
    # a trained energy applies to the backbone's own embeddings; otherwise, the cosine applies to those that ship
    trained_head = None if card.frozen else task.energy_head
    head, (encoder, card) = (CosineEnergy(), shipped) if trained_head is None else (trained_head, whole)
    export_energy(encoder, head, card, energy, opset=section.opset)
    energies = prove_energy(energy, encoder, head, card, evidence.originals)
    files = [backbone, core.path, energy]
    if layers:
        with_maps = folder / "backbone_maps.onnx"
        export_maps(*shipped, with_maps, layers, l2_normalize=section.l2_normalize, opset=section.opset)
        parity["with_maps"] = verify(with_maps, evidence.originals[:_MAX_PROVED_WITH_MAPS], reference)
        files.append(with_maps)
    text = {}
    if task.text_tower is not None and section.layer != "last":
        say(
            f"export: {TEXT} is not written, because embeddings of layer {section.layer} do not lie in the space of "
            "texts; set export.layer: last to get it"
        )
    elif task.text_tower is not None:
        tried = evidence.captions, reference
        text = {"text": release_text(folder, task.text_tower, whole[1], section, trained, *tried)}
        files.append(folder / TEXT)
    record(backbone)
    thresholds = {"thresholds": json.dumps(calibrate(backbone))}
    for path in files:
        of_images = path.name not in (energy.name, TEXT)
        add_metadata(path, {**(origin or {}), **(thresholds if of_images else {})})
        record(path)
    return {
        "parity": parity,
        "canvas_cosine": canvas_agreement(backbone, evidence.originals, evidence.canvases),
        "energy": {"max_difference": energies.max_difference},
        **text,
        "layer": section.layer,
        "embedding_dim": shipped[1].embedding_dim,
        **({"view_sizes": card.view_sizes} if card.view_sizes else {}),
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in files},
    }


def headline(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a report that are worth comparing between runs, for metrics.json."""
    area = report["energy"]["auroc"]
    return {} if area is None else {"energy_auroc": area}


def in_short(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the most important figures of a report, for display."""
    return {
        "max_difference": report["parity"]["max_difference"],
        "min_cosine": report["parity"]["min_cosine"],
        "canvas_cosine": report["canvas_cosine"]["mean"],
        **headline(report),
        "embedding_dim": report["embedding_dim"],
        "backbone_bytes": report["files"]["backbone.onnx"]["bytes"],
        **{f"{name}_recall": found["gate"]["recall"] for name, found in report["variants"].items() if found["ships"]},
    }
