"""Checks that trained networks export to ONNX graphs that compute the same as torch, for any number of images.

The graphs exported here start where a plugin's code starts: from images of the trained size. The pipeline adds the part
before it, from pixels of any size and type, which is the same for every plugin and need not concern its author.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim

from ssl_pipeline.deployment.bounds import BACKBONE, ENERGY, PRETEXT, Bounds
from ssl_pipeline.deployment.from_pixels import Energies, OfBatches, Prediction
from ssl_pipeline.deployment.onnx_file import write_graph
from ssl_pipeline.deployment.proof import Batches, compare, in_torch
from ssl_pipeline.deployment.text_graph import OfTokens
from ssl_pipeline.testing.material import make_captions
from ssl_pipeline.testing.training import Trial
from ssl_pipeline.tokenizer import PADDING
from ssl_pipeline.types import TOKENS

__all__ = ["encoder_exports", "energy_exports", "prediction_exports", "text_tower_exports"]

_COUNTS = (3, 1, 5)
"""Numbers of images that a graph is tested on; it is traced with two."""


def encoder_exports(trial: Trial) -> None:
    """Check that the encoder exports to a backbone.onnx."""
    _same(trial, "its embedding", trial.task(0).encoder, "embedding", BACKBONE)


def energy_exports(trial: Trial) -> None:
    """Check that the energy head, if the task has one, exports to an energy.onnx."""
    task = trial.task(0)
    if task.energy_head is not None:
        network = Energies(task.encoder, task.energy_head)
        _same(trial, "its energy", network, "energy", ENERGY, task.energy_head.inputs)


def prediction_exports(trial: Trial) -> None:
    """Check that the task's predictions export to a pretext.onnx."""
    _same(trial, "its prediction", Prediction(trial.task(0)), "prediction", PRETEXT)


def text_tower_exports(trial: Trial) -> None:
    """Check that the text tower, if the task has one, exports to a text.onnx, and that padding changes no embedding."""
    tower = trial.task(0).text_tower
    if tower is None:
        return
    tokens = {count: make_captions(tower.needs, count, seed=count)[TOKENS] for count in (2, *_COUNTS)}
    texts = {count: (some, (some != PADDING).long()) for count, some in tokens.items()}
    network, shape = OfTokens(tower, l2_normalize=False), {0: Dim("batch"), 1: Dim("length", max=tower.needs.context)}
    batches = {f"{count}": tuple(part.numpy() for part in texts[count]) for count in _COUNTS}
    graph = Graph(("tokens", "mask"), "embedding_of_text", (shape, shape))
    _holds(trial, "its embedding of texts", network, graph, texts[2], batches, BACKBONE)
    with torch.inference_mode():
        whole = network.eval()(*texts[_COUNTS[0]])
        alone = [
            network(some[None, : mask.sum()], mask[None, : mask.sum()])
            for some, mask in zip(*texts[_COUNTS[0]], strict=True)
        ]
    trial.subject.require(
        torch.allclose(whole, torch.cat(alone), atol=1e-4 * float(whole.abs().max())),
        "its embedding of a text depends on the padding after it, or on the other texts of the batch. Use the mask.",
    )


class Graph(NamedTuple):
    """The names of a graph's inputs and output, and the dynamic shapes of its inputs."""

    inputs: Sequence[str]
    output: str
    shapes: tuple[Any, ...]


def _same(
    trial: Trial, what: str, network: nn.Module, output: str, bounds: Bounds, inputs: Sequence[str] = ("images",)
) -> None:
    """Export a network of images, and compare the graph with it on batches (N, C, S, S) of several sizes."""
    subject, generator = trial.subject, torch.Generator().manual_seed(0)
    shape = (subject.images.channels, subject.size, subject.size)
    batches = {
        f"{count}": tuple(torch.rand(count, *shape, generator=generator).numpy() for _ in inputs) for count in _COUNTS
    }
    examples = tuple(torch.zeros(2, *shape) for _ in inputs)  # not the same tensor twice: it would become one input
    graph = Graph(inputs, output, (tuple({0: Dim("batch")} for _ in inputs),))
    _holds(trial, what, OfBatches(network), graph, examples, batches, bounds)


def _holds(
    trial: Trial,
    what: str,
    network: nn.Module,
    graph: Graph,
    examples: tuple[Tensor, ...],
    batches: Batches,
    bounds: Bounds,
) -> None:
    """Export a network, and compare the graph with it on batches; their names, in messages, are their sizes."""
    subject, module = trial.subject, network.eval()
    lengths = f"{', '.join(batches)} samples"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        try:
            write_graph(
                module,
                examples,
                path,
                input_names=graph.inputs,
                output_names=[graph.output],
                dynamic_shapes=graph.shapes,
                metadata={},
            )
        except Exception as error:  # errors of the exporter have no narrower base class
            cause = error.__cause__ or error  # the outer message is about the exporter, not the plugin
            first = str(cause).strip().partition("\n")[0]
            raise subject.fault(
                f"{what} does not export to ONNX ({type(cause).__name__}: {first}). Use operations that torch.export "
                "can trace: no branches on values of tensors, no numpy, no Python loops over the batch."
            ) from error
        try:
            proof = compare(path, in_torch(module), batches, bounds)
        except Exception as error:  # errors of onnxruntime have no narrower base class
            raise subject.fault(f"{what}, as an ONNX graph, does not run on batches of {lengths}: {error}") from error
    subject.require(
        not any(proof.non_finite) and proof.max_difference <= bounds.max_difference,
        f"{what} differs between the ONNX graph and torch on batches of {lengths}: an operation does not export "
        "exactly, or a number that depends on the example images was exported as a constant.",
    )
