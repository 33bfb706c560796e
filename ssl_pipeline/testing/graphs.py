"""Checks that what leaves training becomes ONNX graphs that compute the same, at other sizes and numbers of images."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from ssl_pipeline.artifacts.card import ModelCard, versions
from ssl_pipeline.config import Choice
from ssl_pipeline.data.image_spec import ImageSpec, Pixels
from ssl_pipeline.deployment.bounds import BACKBONE, ENERGY, PRETEXT, Bounds
from ssl_pipeline.deployment.from_pixels import Energies, FromPixels, Prediction
from ssl_pipeline.deployment.image_graph import write_image_graph
from ssl_pipeline.deployment.proof import compare, in_torch
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.testing.training import Trial

__all__ = ["encoder_exports", "energy_exports", "prediction_exports"]


def encoder_exports(trial: Trial) -> None:
    """The encoder becomes a backbone.onnx."""
    _same(trial, "its embedding", trial.task(0).encoder, "embedding", BACKBONE)


def energy_exports(trial: Trial) -> None:
    """The energy head, where a task has one, becomes an energy.onnx."""
    task = trial.task(0)
    if task.energy_head is not None:
        network = Energies(task.encoder, task.energy_head)
        _same(trial, "its energy", network, "energy", ENERGY, task.energy_head.inputs)


def prediction_exports(trial: Trial) -> None:
    """What the task predicts becomes a pretext.onnx."""
    _same(trial, "what it predicts", Prediction(trial.task(0)), "prediction", PRETEXT)


def _card(trial: Trial) -> ModelCard:
    """Return a card that says how images are brought to the size of the trial; the rest is not looked at."""
    nobody, channels = Choice(name="conformance"), trial.subject.images.channels
    return ModelCard(
        backbone=nobody,
        recipe=Recipe(name="conformance", pretext_task=nobody),
        embedding_dim=0,
        size=trial.subject.size,
        resize="squash",
        background=(0,) * channels,
        images=trial.subject.images,
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
        seed=0,
        batch_size=1,
        weights_sha256="",
        params_sha256="",
        plugins={},
        versions=versions(),
    )


def _noise(images: ImageSpec, shape: tuple[int, ...], seed: int) -> Pixels:
    """Return values from the whole scale of some images, and beyond the end of it where their type has such values."""
    drawn = np.random.default_rng(seed).uniform(images.low, images.high + 1, shape)
    return drawn.astype(images.numpy_dtype)


def _same(
    trial: Trial, what: str, network: nn.Module, output: str, bounds: Bounds, inputs: Sequence[str] = ("images",)
) -> None:
    """Write a graph, and hold it against the network that it comes from, on images of three shapes."""
    subject, side, channels = trial.subject, trial.subject.size, trial.subject.images.channels
    module = FromPixels(_card(trial), network).eval()
    batches = {
        str(shape): tuple(_noise(subject.images, shape, seed) for seed, _ in enumerate(inputs))
        for shape in ((3, side, side, channels), (1, side + 9, side // 2, channels), (5, side + 1, side, channels))
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        try:
            write_image_graph(module, path, inputs=inputs, output=output, metadata={})
        except Exception as error:  # the exporter raises all kinds of things, whatever it cannot do
            cause = error.__cause__ or error  # the exporter's own words are about itself
            first = str(cause).strip().partition("\n")[0]
            raise subject.fault(
                f"{what} does not export to ONNX ({type(cause).__name__}: {first}). Use operations that torch.export "
                "can trace: no branches on values of tensors, no numpy, no Python loops over the batch."
            ) from error
        try:
            proof = compare(path, in_torch(module), batches, bounds)
        except Exception as error:  # onnxruntime's exceptions share no narrower base
            raise subject.fault(
                f"{what}, as an ONNX graph, does not run on images of the shapes {', '.join(batches)}: {error}"
            ) from error
    subject.require(
        not any(proof.non_finite) and proof.max_difference <= bounds.max_difference,
        f"{what} is another one as an ONNX graph than in torch, on images of the shapes {', '.join(batches)}: an "
        "operation does not export exactly, or a number of the example images was taken for a constant.",
    )
