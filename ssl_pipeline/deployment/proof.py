"""The proof that a graph computes what it was made from: its answers beside those of a reference, within bounds."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ssl_pipeline.deployment.bounds import Bounds
from ssl_pipeline.deployment.runtime import open_session
from ssl_pipeline.errors import PipelineError

__all__ = ["Answers", "Batches", "Proof", "Reference", "compare", "in_torch", "prove", "row_cosines"]

Batches = Mapping[str, tuple[npt.NDArray[Any], ...]]
"""Name -> what the graph takes, in the order of its inputs, each (N, ...)."""
Answers = Mapping[str, npt.NDArray[np.floating]]
"""Name -> (N, ...), under the names of the batches."""
Rows = npt.NDArray[np.float64]

_SMALLEST_FLOAT = np.finfo(np.float64).tiny  # instead of a division by zero


@dataclass(frozen=True)
class Reference:
    """What a graph is held against.

    Attributes:
        name: Who answers, for messages.
        answers: Functions from batches to answers. Where several are given, each of their values is right: a value
            within a hair of a threshold may fall on either side of it by its last bit.
    """

    name: str
    answers: Sequence[Callable[[Batches], Answers]]


@dataclass(frozen=True)
class Proof:
    """How a graph's answers compare with its reference's.

    Where a value is not finite, all other figures are NaN; where shapes differ, the difference is infinite.

    Attributes:
        bounds: What the figures are judged by; says in which units differences are.
        reference: The name of what the graph was held against.
        providers: The execution providers that onnxruntime used.
        non_finite: How many values of the reference, and of the graph, are NaN or infinite.
        max_difference: The largest difference between the graph and its reference.
        min_cosine: The smallest cosine between a row of the graph and one of its reference.
        row_difference: The largest difference between a row in a batch and the same row alone; 0 where no bound asks.
        variation: The std, over different images, of the component that varies most, relative to the largest.
    """

    bounds: Bounds
    reference: str
    providers: Sequence[str]
    non_finite: tuple[int, int] = (0, 0)
    max_difference: float = float("nan")
    min_cosine: float = float("nan")
    row_difference: float = float("nan")
    variation: float = float("nan")

    def broken(self, advice: str) -> list[str]:
        """Describe each broken bound in a line, with the figure and what to do.

        Args:
            advice: What to do where the graph and its reference differ.
        """
        theirs, ours = self.non_finite
        if theirs:
            return [
                f"- {theirs} of {self.reference}'s values are NaN or infinite: training diverged; lower "
                "pretrain.optimizer.learning_rate, or set pretrain.clip_norm."
            ]
        if ours:
            return [f"- {ours} of onnxruntime's values are NaN or infinite, {self.reference}'s are not: {advice}"]
        return [*self._varies_too_little(), *self._mixes_rows(), *self._differs(advice)]

    def _varies_too_little(self) -> list[str]:
        least = self.bounds.min_variation
        if least is None or self.variation >= least:
            return []
        return [
            f"- outputs do not vary: std over different images {self.variation:.1e} of the largest component, "
            f"bound {least:.0e}: the network has collapsed, or its training was too short for its batch statistics. "
            "Look at the curves in reports/pretrain; raise pretrain.epochs, or, for a classifier, finetune.steps."
        ]

    def _mixes_rows(self) -> list[str]:
        most = self.bounds.max_row_difference
        if most is None or self.row_difference <= most:
            return []
        return [
            f"- rows depend on their batch: {self.row_difference:.1e}{self._unit}, bound {most:.0e}: the backbone "
            "mixes images (batch statistics in eval mode?); choose another (pretrain.backbone)."
        ]

    def _differs(self, advice: str) -> list[str]:
        most, least = self.bounds.max_difference, self.bounds.min_cosine
        if self.max_difference <= most and (least is None or self.min_cosine >= least):
            return []
        cosine = "" if least is None else f"; smallest cosine {self.min_cosine:.7f}, bound {least}"
        return [
            f"- {self.reference} and onnxruntime differ: {self.max_difference:.1e}{self._unit}, bound {most:.0e}"
            f"{cosine}: {advice}"
        ]

    @property
    def _unit(self) -> str:
        return "" if self.bounds.scale == "one" else " of the largest component"


def prove(
    path: Path,
    reference: Reference,
    batches: Batches,
    bounds: Bounds,
    advice: str,
    *,
    varied: Collection[str] | None = None,
    output: str | None = None,
) -> Proof:
    """Hold a graph against its reference, and refuse it where a bound is broken.

    Args:
        path: The ONNX file.
        reference: What the graph has to compute.
        batches: What to try.
        bounds: The bounds of the graph.
        advice: What to do where the two differ: a clause that ends with a full stop.
        varied: The names of batches of different images, over which answers have to vary; None: all.
        output: The name of the output that is held against the reference; None: the first one.

    Raises:
        PipelineError: A bound is broken; the message says which, and what to do.
    """
    proof = compare(path, reference, batches, bounds, varied=varied, output=output)
    problems = proof.broken(advice)
    if problems:
        what = path.name if output is None else f"{output} of {path.name}"
        raise PipelineError(
            f"{what} does not compute what {reference.name} computes, and is discarded:\n" + "\n".join(problems)
        )
    return proof


def compare(
    path: Path,
    reference: Reference,
    batches: Batches,
    bounds: Bounds,
    *,
    varied: Collection[str] | None = None,
    output: str | None = None,
) -> Proof:
    """Measure how near a graph comes to its reference, without judging it; see `prove`."""
    session = open_session(path)
    wanted = [output or session.get_outputs()[0].name]
    names = [node.name for node in session.get_inputs()]

    def run(arrays: Sequence[npt.NDArray[Any]]) -> Rows:
        return _rows(session.run(wanted, dict(zip(names, arrays, strict=True)))[0])

    actual = {name: run(arrays) for name, arrays in batches.items()}
    expected = _nearest(actual, [answers(batches) for answers in reference.answers])
    proof = Proof(bounds, reference.name, session.get_providers(), (_non_finite(expected), _non_finite(actual)))
    if any(expected[name].shape != actual[name].shape for name in batches):
        return replace(proof, max_difference=float("inf"), row_difference=0.0, variation=float("inf"))
    if any(proof.non_finite):
        return proof
    units = _units(expected, bounds)
    alone = 0.0
    if bounds.max_row_difference is not None:
        for name, arrays in batches.items():
            rows = range(len(actual[name]) if len(actual[name]) > 1 else 0)
            single = [run([array[row : row + 1] for array in arrays]) for row in rows]
            if single:
                alone = max(alone, _difference(actual[name], np.concatenate(single), units[name]))
    different = np.concatenate([actual[name] for name in (batches if varied is None else varied)])
    scores = np.log(different.clip(1e-30)) if bounds.varies == "logarithms" else different
    return replace(
        proof,
        max_difference=max(_difference(expected[name], actual[name], units[name]) for name in batches),
        min_cosine=min(float(row_cosines(expected[name], actual[name]).min()) for name in batches),
        row_difference=alone,
        variation=float(scores.std(axis=0).max() / np.abs(scores).max().clip(_SMALLEST_FLOAT)),
    )


def in_torch(*modules: Callable[..., Tensor]) -> Reference:
    """Return torch modules of this process, on the CPU and in the mode in which they are, as a reference.

    Args:
        *modules: Modules from the inputs of the graph to its output. Where there are several, each of their values is
            right.
    """

    def answering(module: Callable[..., Tensor]) -> Callable[[Batches], Answers]:
        def answer(batches: Batches) -> Answers:
            with torch.inference_mode():
                return {name: module(*map(torch.tensor, arrays)).numpy() for name, arrays in batches.items()}

        return answer

    return Reference("torch", [answering(module) for module in modules])


def row_cosines(first: Rows, second: Rows) -> Rows:
    """Return cosines (N,) of rows (N, D); 1 for equal rows, be they zero."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    found: Rows = (first * second).sum(axis=1) / norms.clip(_SMALLEST_FLOAT)
    return np.where((first == second).all(axis=1), 1.0, found)


def _rows(answer: npt.NDArray[np.floating]) -> Rows:
    """Return answers (N, ...) as rows (N, D)."""
    return answer.reshape(len(answer), -1).astype(np.float64)


def _nearest(actual: Mapping[str, Rows], right: Sequence[Answers]) -> dict[str, Rows]:
    """Return a reference's answers; where several are right, value by value the one that is nearest to the graph's."""
    expected = {name: _rows(right[0][name]) for name in actual}
    for answers in right[1:]:
        for name, rows in actual.items():
            other = _rows(answers[name])
            nearer = np.abs(other - rows) < np.abs(expected[name] - rows)
            expected[name] = np.where(nearer, other, expected[name])
    return expected


def _non_finite(answers: Mapping[str, Rows]) -> int:
    return int(sum((~np.isfinite(rows)).sum() for rows in answers.values()))


def _units(expected: Mapping[str, Rows], bounds: Bounds) -> dict[str, Rows | float]:
    """Return what differences of each batch are measured by: (N, 1), or one number."""
    largest = max(float(np.abs(rows).max()) for rows in expected.values())
    units: dict[str, Rows | float] = {}
    for name, rows in expected.items():
        if bounds.scale == "row":
            units[name] = np.abs(rows).max(axis=1, keepdims=True).clip(_SMALLEST_FLOAT)
        else:
            units[name] = {"batch": float(np.abs(rows).max()), "all": largest, "one": 1.0}[
                bounds.scale
            ] or _SMALLEST_FLOAT
    return units


def _difference(expected: Rows, actual: Rows, unit: Rows | float) -> float:
    return float((np.abs(expected - actual) / unit).max())
