"""Torch's answers to images or texts, from a model rebuilt from its files alone: the reference of the parity proof."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from ssl_pipeline.artifacts.assembly import cut
from ssl_pipeline.artifacts.files import load_encoder, load_text_tower
from ssl_pipeline.deployment.from_pixels import FromPixels, Probabilities, WithMaps, embedding
from ssl_pipeline.deployment.text_graph import OfTokens
from ssl_pipeline.registry import Registry

__all__ = ["HEAD", "answer", "answer_texts", "map_name"]

HEAD = "head.safetensors"
"""A classifier's linear head, `weight` (C, D) and `bias` (C,), beside the encoder that it was trained with."""


def map_name(layer: int) -> str:
    """Return the name of a graph's output for the map of a layer, counted from 1."""
    return f"map_{layer}"


def answer(
    registry: Registry,
    folder: Path,
    inputs: Path,
    outputs: Path,
    *,
    layer: int | None,
    l2_normalize: bool,
    maps: Sequence[int] = (),
) -> None:
    """Run a model on batches of images, and write probabilities if the folder holds a head, otherwise embeddings.

    Args:
        registry: Registry of the backbone.
        folder: Folder with encoder.safetensors, model.json and, for a classifier, head.safetensors.
        inputs: Path of an .npz with batches of images (N, H, W, C).
        outputs: Path of the .npz to write: for each batch, float32 (N, D) or (N, C) under its name, and each map
            (N, C', h, w) as `<map>/<name>`.
        layer: Number of the layer, counted from 1, whose embeddings to write; None takes the backbone's own.
        l2_normalize: Whether embeddings are scaled to unit length.
        maps: Numbers of the layers, counted from 1, whose maps to write as well.
    """
    encoder, card = cut(*load_encoder(registry, folder), layer)
    network, head = embedding(encoder, l2_normalize), folder / HEAD
    if head.exists():
        network = Probabilities(network, **safetensors.torch.load_file(head))
    elif maps:
        network = WithMaps(encoder, maps, l2_normalize)
    model, answers = FromPixels(card, network).eval(), {}
    with np.load(inputs) as file, torch.inference_mode():
        for name in file.files:
            found = model(torch.from_numpy(file[name]))
            first, *others = found if isinstance(found, tuple) else (found,)
            answers[name] = first.numpy()
            answers |= {f"{map_name(one)}/{name}": other.numpy() for one, other in zip(maps, others, strict=True)}
    np.savez(outputs, **answers)


def answer_texts(registry: Registry, folder: Path, inputs: Path, outputs: Path, *, l2_normalize: bool) -> None:
    """Run the text tower of a model on texts, each alone and without its padding.

    Args:
        registry: Registry of the pretext task.
        folder: Folder of the stage pretrain.
        inputs: Path of an .npz with batches: `tokens/<name>` and `mask/<name>`, (N, L) int64 each.
        outputs: Path of the .npz to write: for each batch, float32 (N, P) under its name.
        l2_normalize: Whether embeddings are scaled to unit length.
    """
    network, answers = OfTokens(load_text_tower(registry, folder)[0], l2_normalize).eval(), {}
    with np.load(inputs) as file, torch.inference_mode():
        for name in (entry.removeprefix("tokens/") for entry in file.files if entry.startswith("tokens/")):
            tokens, mask = (torch.from_numpy(file[f"{kind}/{name}"]) for kind in ("tokens", "mask"))
            lengths = mask.sum(dim=1).tolist()
            rows = [network(tokens[[n], :length], mask[[n], :length]) for n, length in enumerate(lengths)]
            answers[name] = torch.cat(rows).numpy()
    np.savez(outputs, **answers)  # type: ignore[arg-type]  # numpy's stub takes names for its own option
