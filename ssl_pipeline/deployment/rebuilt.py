"""What torch makes of images or texts, rebuilt from a model's files alone: the other side of the parity proof."""

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
    """Return how the map of a layer, from 1, is called among a graph's outputs."""
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
    """Run a model on batches of images: probabilities if the folder holds a head, embeddings if not.

    Args:
        registry: The registry that has the backbone.
        folder: Holds encoder.safetensors, model.json and, for a classifier, head.safetensors.
        inputs: .npz of batches of images (N, H, W, C).
        outputs: .npz to write: for each batch float32 (N, D) or (N, C), under the same name, and each map (N, C', h, w)
            as `<map>/<name>`.
        layer: The number of the backbone's layer, from 1, whose embeddings are meant; None: the backbone's own.
        l2_normalize: Whether embeddings get unit length.
        maps: The numbers of layers, from 1, whose maps are meant besides.
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
        registry: The registry that has the pretext task.
        folder: The folder of the stage pretrain.
        inputs: .npz of batches: `tokens/<name>` and `mask/<name>`, (N, L) int64 each.
        outputs: .npz to write: for each batch float32 (N, P), under its name.
        l2_normalize: Whether embeddings get unit length.
    """
    network, answers = OfTokens(load_text_tower(registry, folder)[0], l2_normalize).eval(), {}
    with np.load(inputs) as file, torch.inference_mode():
        for name in (entry.removeprefix("tokens/") for entry in file.files if entry.startswith("tokens/")):
            tokens, mask = (torch.from_numpy(file[f"{kind}/{name}"]) for kind in ("tokens", "mask"))
            lengths = mask.sum(dim=1).tolist()
            rows = [network(tokens[[n], :length], mask[[n], :length]) for n, length in enumerate(lengths)]
            answers[name] = torch.cat(rows).numpy()
    np.savez(outputs, **answers)  # type: ignore[arg-type]  # numpy's stub takes the names for its own option
