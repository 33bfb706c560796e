"""Checks that what leaves training becomes ONNX graphs that compute the same, at other sizes and numbers of images."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.export import Dim

from ssl_pipeline.artifacts.card import ModelCard, versions
from ssl_pipeline.config import Choice
from ssl_pipeline.deployment.export import export_backbone, export_energy
from ssl_pipeline.deployment.graph import PixelsToEmbedding, PixelsToEnergy
from ssl_pipeline.onnx_file import write_graph
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.testing.subject import Subject
from ssl_pipeline.testing.training import Trial
from ssl_pipeline.training.pretext_graph import PixelsToPrediction

__all__ = ["encoder_exports", "energy_exports", "prediction_exports"]

_TOLERANCE = 1e-3  # of the largest component
_BLACK = (0, 0, 0)


def encoder_exports(trial: Trial) -> None:
    """The encoder becomes a backbone.onnx."""
    encoder, card = trial.task(0).eval().encoder, _card(trial)

    def write(path: Path) -> nn.Module:
        export_backbone(encoder, card, path, l2_normalize=False, opset=18)
        return PixelsToEmbedding(encoder, card, l2_normalize=False)

    _same(trial.subject, "its embedding", 1, write)


def energy_exports(trial: Trial) -> None:
    """The energy head, where a task has one, becomes an energy.onnx."""
    task, card = trial.task(0).eval(), _card(trial)
    head = task.energy_head
    if head is None:
        return

    def write(path: Path) -> nn.Module:
        export_energy(task.encoder, head, card, path, opset=18)
        return PixelsToEnergy(task.encoder, card, head)

    _same(trial.subject, "its energy", len(head.inputs), write)


def prediction_exports(trial: Trial) -> None:
    """What the task predicts becomes a pretext.onnx."""
    size = trial.subject.size
    module = PixelsToPrediction(trial.task(0), size, "squash", _BLACK)

    def write(path: Path) -> nn.Module:
        write_graph(
            module.eval(),
            (torch.zeros(2, size + 3, size + 5, 3, dtype=torch.uint8),),
            path,
            input_names=["images"],
            output_names=["prediction"],
            dynamic_shapes=({0: Dim("batch"), 1: Dim("height"), 2: Dim("width")},),
            metadata={},
        )
        return module

    _same(trial.subject, "what it predicts", 1, write)


def _card(trial: Trial) -> ModelCard:
    """Says how images are brought to the size of the trial; the rest is not looked at."""
    nobody = Choice(name="conformance")
    return ModelCard(
        backbone=nobody,
        recipe=Recipe(name="conformance", pretext_task=nobody),
        embedding_dim=0,
        size=trial.subject.size,
        resize="squash",
        background=_BLACK,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        seed=0,
        batch_size=1,
        weights_sha256="",
        params_sha256="",
        plugins={},
        versions=versions(),
    )


def _same(subject: Subject, what: str, inputs: int, write: Callable[[Path], nn.Module]) -> None:
    """Write a graph, and hold it against the module that it comes from, on images of three shapes."""
    side = subject.size
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        try:
            module = write(path).eval()
        except Exception as error:  # the exporter raises all kinds of things, whatever it cannot do
            cause = error.__cause__ or error  # the exporter's own words are about itself
            first = str(cause).strip().partition("\n")[0]
            raise subject.fault(
                f"{what} does not export to ONNX ({type(cause).__name__}: {first}). Use operations that torch.export "
                "can trace: no branches on values of tensors, no numpy, no Python loops over the batch."
            ) from error
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
    random = np.random.default_rng(0)
    for shape in ((3, side, side, 3), (1, side + 9, side // 2, 3), (5, side + 1, side, 3)):
        images = [random.integers(0, 256, shape, dtype=np.uint8) for _ in range(inputs)]
        with torch.no_grad():
            wanted = module(*map(torch.from_numpy, images)).numpy()
        try:
            (found,) = session.run(None, dict(zip(names, images, strict=True)))
        except Exception as error:  # likewise
            raise subject.fault(f"{what}, as an ONNX graph, does not run on images {shape}: {error}") from error
        subject.require(
            found.shape == wanted.shape and bool(np.abs(found - wanted).max() <= _TOLERANCE * np.abs(wanted).max()),
            f"{what} is another one as an ONNX graph than in torch, on images {shape}: an operation does not export "
            "exactly, or a number of the example images was taken for a constant.",
        )
