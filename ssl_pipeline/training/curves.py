"""A run's curves and warnings: kept in checkpoints; curves are written as tables that grow."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_pipeline import progress
from ssl_pipeline.products import write_json
from ssl_pipeline.training.endings import DivergedError, refuse_non_finite
from ssl_pipeline.types import Finding

__all__ = ["CurveFiles", "History", "write_curves"]

Row = dict[str, float]

_HEADLINE = ("loss", "effective_rank", "view_recall")
"""Figures that are worth comparing between runs."""
_MAX_MESSAGE = 2000  # characters


class History:
    """What a run has to tell.

    Attributes:
        rows: Figures, a row for each logged step: losses and norms of gradients are averaged over the steps since the
            last row, all else is of the row's own step.
        warnings: What went wrong, each kind once: {"step": when it was first seen, "kind": its name, "warning": the
            message}.
        loss: The last loss that was read; NaN before.
        shipped_step: The step whose weights ship, where that was chosen; None: those of the last one do.

    Args:
        fp16: Whether a `GradScaler` is at work, which skips steps with infinite gradients and may go on.
    """

    def __init__(self, fp16: bool = False) -> None:
        self.rows: list[Row] = []
        self.warnings: list[dict[str, Any]] = []
        self.loss = math.nan
        self.shipped_step: int | None = None
        self._fp16 = fp16
        self._waiting: list[tuple[int, Tensor, Tensor]] = []  # not yet read: a device would have to be waited for
        self._sums: Row = {}
        self._steps = 0

    def note(self, step: int, loss: Tensor, gradient_norm: Tensor) -> None:
        """Take in a step's loss and the norm of its gradients, which stay on their device until they are read."""
        self._waiting.append((step, loss.detach(), gradient_norm))

    def read(self) -> None:
        """Add what was noted to the row to come.

        Raises:
            DivergedError: A step's loss or norm is not finite; it names the first such step.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        noted = torch.stack([value.double() for _, *values in waiting for value in values]).reshape(-1, 2).tolist()
        for (step, *_), (loss, norm) in zip(waiting, noted, strict=True):
            refuse_non_finite(step, loss, norm, self._fp16)
            self._steps += 1
            for name, value in {"loss": loss, "gradient_norm": norm}.items():
                self._sums[name] = self._sums.get(name, 0.0) + value
            self.loss = loss

    @contextmanager
    def divergence_comes_first(self) -> Iterator[None]:
        """Let what fails over numbers that are not finite be reported as what it is: a run that had diverged before."""
        try:
            yield
        except Exception as error:
            try:
                self.read()
            except DivergedError as diverged:
                raise DivergedError(f"{diverged}\nWhat came of it: {error}"[:_MAX_MESSAGE]) from error
            raise

    def close_row(self, step: int, figures: Mapping[str, float]) -> None:
        """End the row: the means of what was noted, and figures that are of this step alone."""
        self.read()
        self.rows.append(
            {"step": step} | {name: total / self._steps for name, total in self._sums.items()} | {**figures}
        )
        self._sums, self._steps = {}, 0

    def warn(self, step: int, findings: Iterable[Finding]) -> None:
        """Say what is wrong at a step, and keep it; of each kind only the first finding."""
        for finding in findings:
            if finding.kind not in {known["kind"] for known in self.warnings}:
                self.warnings.append({"step": step, "kind": finding.kind, "warning": finding.message})
                progress.say(f"pretrain, step {step}: warning: {finding.message}")

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint.

        Raises:
            DivergedError: A loss that was not yet read is not finite: there is no state to go on from.
        """
        self.read()
        return {"rows": self.rows, "warnings": self.warnings, "sums": self._sums, "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint holds."""
        self.rows, self.warnings = list(state["rows"]), list(state["warnings"])
        self._sums, self._steps = dict(state["sums"]), state["steps"]


class CurveFiles:
    """Curves as tables that grow with a run, one for each figure, as DVCLive writes them: `<name>.tsv`.

    Tables of an earlier run are removed, and all rows so far written anew: a run that goes on from a checkpoint has
    fewer of them than were written before it was killed.

    Args:
        folder: The folder of the tables; None: nothing is written.
        rows: The rows so far.
    """

    def __init__(self, folder: Path | None, rows: Sequence[Row]):
        self._folder = folder
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.rglob("*.tsv"):  # never written to: it may be a link into DVC's cache
                old.unlink()
        self.add(rows)

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows, so that whoever looks at the tables meanwhile sees whole lines."""
        names = {name: None for row in rows for name in row if name != "step"}  # in their order
        for name in names if self._folder else ():
            path = Path(self._folder or "", f"{name}.tsv")
            path.parent.mkdir(parents=True, exist_ok=True)
            lines: list[tuple[Any, Any]] = [("step", path.stem)] if not path.exists() else []
            lines += [(int(row["step"]), row[name]) for row in rows if name in row]
            with path.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file, delimiter="\t", lineterminator="\n").writerows(lines)


def write_curves(history: History, folder: Path) -> None:
    """Write `details.json` (the last row), `metrics.json` (a few of it) and `curves/<name>.tsv` into a folder.

    Where the step that ships was chosen, details.json has it as `shipped_step`.
    """
    CurveFiles(folder / "curves", history.rows)
    last = {name: value if math.isfinite(value) else None for name, value in history.rows[-1].items()}
    if history.shipped_step is not None:
        last["shipped_step"] = history.shipped_step
    write_json(folder / "details.json", last)
    write_json(folder / "metrics.json", {name: last[name] for name in _HEADLINE if last.get(name) is not None})
