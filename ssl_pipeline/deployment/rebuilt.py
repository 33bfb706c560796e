"""What torch makes of images, rebuilt from a model's files alone: the other side of the parity proof."""

from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from ssl_pipeline.artifacts.assembly import cut
from ssl_pipeline.artifacts.files import load_encoder
from ssl_pipeline.deployment.from_pixels import FromPixels, Probabilities, embedding
from ssl_pipeline.registry import Registry

__all__ = ["HEAD", "answer"]

HEAD = "head.safetensors"
"""A classifier's linear head, `weight` (C, D) and `bias` (C,), beside the encoder that it was trained with."""


def answer(
    registry: Registry, folder: Path, inputs: Path, outputs: Path, *, layer: int | None, l2_normalize: bool
) -> None:
    """Run a model on batches of images: probabilities if the folder holds a head, embeddings if not.

    Args:
        registry: The registry that has the backbone.
        folder: Holds encoder.safetensors, model.json and, for a classifier, head.safetensors.
        inputs: .npz of batches of images (N, H, W, C).
        outputs: .npz to write: for each batch float32 (N, D) or (N, C), under the same name.
        layer: The number of the backbone's layer, from 1, whose embeddings are meant; None: the backbone's own.
        l2_normalize: Whether embeddings get unit length.
    """
    encoder, card = cut(*load_encoder(registry, folder), layer)
    network, head = embedding(encoder, l2_normalize), folder / HEAD
    if head.exists():
        network = Probabilities(network, **safetensors.torch.load_file(head))
    model = FromPixels(card, network).eval()
    with np.load(inputs) as file, torch.inference_mode():
        answers = {name: model(torch.from_numpy(file[name])).numpy() for name in file.files}
    np.savez(outputs, **answers)
