"""Checks that what leaves training becomes ONNX graphs that compute the same, whatever the number of images.

What is exported here begins where a plugin's own begins: with images at the trained size. What the pipeline puts before
it, from pixels of any size and type, is the same for every plugin and none of a plugin's business.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim

from ssl_pipeline.deployment.bounds import BACKBONE, ENERGY, PRETEXT, Bounds
from ssl_pipeline.deployment.from_pixels import Energies, OfBatches, Prediction
from ssl_pipeline.deployment.onnx_file import write_graph
from ssl_pipeline.deployment.proof import compare, in_torch
from ssl_pipeline.testing.training import Trial

__all__ = ["encoder_exports", "energy_exports", "prediction_exports"]

_COUNTS = (3, 1, 5)
"""Numbers of images on which a graph is tried; it is traced with two."""


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


def _same(
    trial: Trial, what: str, network: nn.Module, output: str, bounds: Bounds, inputs: Sequence[str] = ("images",)
) -> None:
    """Write a graph, and hold it against the network that it comes from, on batches (N, C, S, S) of several lengths."""
    subject, generator = trial.subject, torch.Generator().manual_seed(0)
    shape = (subject.images.channels, subject.size, subject.size)
    batches = {
        f"{count}": tuple(torch.rand(count, *shape, generator=generator).numpy() for _ in inputs) for count in _COUNTS
    }
    module, lengths = OfBatches(network).eval(), f"{', '.join(batches)} images"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        try:
            write_graph(
                module,
                tuple(torch.zeros(2, *shape) for _ in inputs),  # one tensor given twice would become one input
                path,
                input_names=inputs,
                output_names=[output],
                dynamic_shapes=(tuple({0: Dim("batch")} for _ in inputs),),
                metadata={},
            )
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
            raise subject.fault(f"{what}, as an ONNX graph, does not run on batches of {lengths}: {error}") from error
    subject.require(
        not any(proof.non_finite) and proof.max_difference <= bounds.max_difference,
        f"{what} is another one as an ONNX graph than in torch, on batches of {lengths}: an operation does not export "
        "exactly, or a number of the example images was taken for a constant.",
    )
