"""Proof that a graph computes what it was made from: its answers match those of a reference within bounds."""

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
"""Name -> arrays (N, ...), one for each input of the graph, in order."""
Answers = Mapping[str, npt.NDArray[np.floating]]
"""Name of a batch -> answers (N, ...)."""
Rows = npt.NDArray[np.float64]

_SMALLEST_FLOAT = np.finfo(np.float64).tiny  # avoids a division by zero


@dataclass(frozen=True)
class Reference:
    """The reference that a graph is compared with.

    Attributes:
        name: Name of the reference, for messages.
        answers: Functions from batches to answers. If there are several, a value that equals that of any one is right:
            a value very close to a threshold may fall on either side of it, depending on its last bit.
    """

    name: str
    answers: Sequence[Callable[[Batches], Answers]]


@dataclass(frozen=True)
class Proof:
    """Comparison of a graph's answers with those of its reference.

    If a value is not finite, all other figures are NaN; if shapes differ, the difference is infinite.

    Attributes:
        bounds: Bounds by which the figures are judged, with the unit of differences.
        reference: Name of the reference.
        providers: Execution providers that onnxruntime used.
        non_finite: Number of values of the reference, and of the graph, that are NaN or infinite.
        max_difference: Largest difference between the graph and its reference.
        min_cosine: Smallest cosine between a row of the graph and that of its reference.
        row_difference: Largest difference between a row in a batch and the same row alone, 0 if it has no bound.
        variation: Std, over different images, of the component that varies most, relative to the largest component.
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
        """Return one line per broken bound, with the figure and what to do.

        Args:
            advice: Instruction for the case that the graph and its reference differ.
        """
        theirs, ours = self.non_finite
        if theirs:
            return [
                f"- {theirs} of {self.reference}'s values are NaN or infinite: training diverged; lower "
                "pretrain.optimizer.learning_rate, or set pretrain.clip_norm."
            ]
        if ours:
            return [f"- {ours} of onnxruntime's values are NaN or infinite, but {self.reference}'s are not: {advice}"]
        return [*self._varies_too_little(), *self._mixes_rows(), *self._differs(advice)]

    def _varies_too_little(self) -> list[str]:
        least = self.bounds.min_variation
        if least is None or self.variation >= least:
            return []
        return [
            f"- outputs do not vary: std over different images {self.variation:.1e} of the largest component, "
            f"bound {least:.0e}: the network has collapsed, or its training was too short for its batch statistics. "
            "Check the curves in reports/pretrain; raise pretrain.epochs, or, for a classifier, finetune.steps."
        ]

    def _mixes_rows(self) -> list[str]:
        most = self.bounds.max_row_difference
        if most is None or self.row_difference <= most:
            return []
        return [
            f"- rows depend on their batch: {self.row_difference:.1e}{self._unit}, bound {most:.0e}: the backbone "
            "mixes images (batch statistics in eval mode?); choose another one (pretrain.backbone)."
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
    """Compare a graph with its reference, and raise an error if a bound is broken.

    Args:
        path: Path of the ONNX file.
        reference: Reference that the graph has to match.
        batches: Batches to try.
        bounds: Bounds of the graph.
        advice: Instruction for the case that the two differ: a clause that ends with a full stop.
        varied: Names of batches of different images, over which answers have to vary; None takes all.
        output: Name of the output to compare; None takes the first one.

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
    """Measure how close a graph comes to its reference, without judging it; see `prove`."""
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
    """Return torch modules in this process, on the CPU and in their current mode, as a reference.

    Args:
        *modules: Modules from the inputs of the graph to its output. If there are several, a value that equals that of
            any one is right.
    """

    def answering(module: Callable[..., Tensor]) -> Callable[[Batches], Answers]:
        def answer(batches: Batches) -> Answers:
            with torch.inference_mode():
                return {name: module(*map(torch.tensor, arrays)).numpy() for name, arrays in batches.items()}

        return answer

    return Reference("torch", [answering(module) for module in modules])


def row_cosines(first: Rows, second: Rows) -> Rows:
    """Return cosines (N,) between rows (N, D); 1 for equal rows, even if they are zero."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    found: Rows = (first * second).sum(axis=1) / norms.clip(_SMALLEST_FLOAT)
    return np.where((first == second).all(axis=1), 1.0, found)


def _rows(answer: npt.NDArray[np.floating]) -> Rows:
    """Return answers (N, ...) as rows (N, D)."""
    return answer.reshape(len(answer), -1).astype(np.float64)


def _nearest(actual: Mapping[str, Rows], right: Sequence[Answers]) -> dict[str, Rows]:
    """Return a reference's answers; if it has several, the nearest to the graph's is chosen for each value."""
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
    """Return the unit of differences for each batch: an array (N, 1), or one number."""
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
