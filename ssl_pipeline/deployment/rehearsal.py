"""A trial of the export before training: it detects in seconds, not hours, that a network cannot ship."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.deployment.bounds import REHEARSAL
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.deployment.proof import compare, in_torch
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.progress import say
from ssl_pipeline.terminal import brief

__all__ = ["rehearse", "tried"]

OPSET = 18
"""Operator set of the trial. Any will do: pretraining does not know export.opset, and a network that exports with one
operator set almost always exports with the others."""


def rehearse(encoder: nn.Module, card: ModelCard) -> None:
    """Try the export as `tried` does, and print how long it took."""
    seconds = tried(encoder, card)
    say(f"pretrain: '{card.backbone.name}' exports to ONNX: a trial took {seconds:.1f} s")


def tried(encoder: nn.Module, card: ModelCard) -> float:
    """Write backbone.onnx of an untrained encoder, as the stage `export` does, and compare the graph with torch.

    It takes 5 to 7 s on one core, for a ResNet-20 as for a ResNet-50. energy.onnx and pretext.onnx together would take
    twice as long and are not tried: the conformance checks of plugins (`ssl_pipeline.testing`) export the heads of a
    pretext task.

    Args:
        encoder: Encoder before its training, on the CPU; it is left unchanged.
        card: Description of the encoder.

    Returns:
        The duration in s.

    Raises:
        ConfigError: The exporter or onnxruntime refuses the network, or the graph does not compute what torch computes.
        PipelineError: The graph exceeds 2 GB.
    """
    started, training = time.monotonic(), encoder.training
    name = card.backbone.name
    spec, shape = card.images, (2, card.size + 3, card.size + 5, card.images.channels)
    shares = np.random.default_rng(card.seed).random(shape)
    images = (spec.low + shares * (spec.high - spec.low)).astype(spec.numpy_dtype)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        path = Path(folder, "backbone.onnx")
        try:
            export_backbone(encoder, card, path, l2_normalize=False, opset=OPSET)
            reference = in_torch(FromPixels(card, encoder).eval())
            proof = compare(path, reference, {"random": (images,)}, REHEARSAL)
        except PipelineError:
            raise
        except Exception as error:  # what the exporter raises has no narrower base
            raise ConfigError(
                f"pretrain.backbone: '{name}' cannot be exported to ONNX, so nothing could ship after training: "
                f"{_reason(error)}. Choose another backbone, or fix this one."
            ) from error
    encoder.train(training)
    theirs, _ = proof.non_finite  # training reports NaN of torch itself
    if not theirs and proof.broken(""):
        raise ConfigError(
            f"pretrain.backbone: '{name}' does not export exactly: before training, torch and onnxruntime differ by "
            f"{proof.max_difference:.1e} of the largest component (bound {REHEARSAL.max_difference:.0e}). Choose "
            "another backbone."
        )
    return time.monotonic() - started


def _reason(error: BaseException) -> str:
    """Return the root cause of an exporter's error, without the exporter's own steps above it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return brief(error)
