"""The curves and warnings of a run: stored in checkpoints, and written as tables that grow during training."""

import csv
import math
from collections import defaultdict
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

__all__ = ["CurveFiles", "History", "read_scalars", "write_curves"]

Row = dict[str, float]

_HEADLINE = ("loss", "effective_rank", "view_recall")
"""Figures worth comparing between runs."""
_MAX_MESSAGE = 2000  # characters


class History:
    """The curves and warnings of a run.

    Attributes:
        rows: The figures, one row per logged step. The loss and the norm of the gradient are averaged over the steps
            since the previous row; all other figures are of the row's step.
        warnings: The first warning of each kind: {"step": the step when it was first seen, "kind": the name of the
            kind, "warning": the message}.
        loss: The last loss that was read; NaN if none was.
        shipped_step: The step whose weights ship, if it was chosen; None: the last step.

    Args:
        fp16: Whether a `GradScaler` is used, which skips steps with infinite gradients and can continue.
    """

    def __init__(self, fp16: bool = False) -> None:
        self.rows: list[Row] = []
        self.warnings: list[dict[str, Any]] = []
        self.loss = math.nan
        self.shipped_step: int | None = None
        self._fp16 = fp16
        self._waiting: list[tuple[int, Tensor, Tensor]] = []  # unread: reading waits for the device
        self._sums: Row = {}
        self._steps = 0

    def note(self, step: int, loss: Tensor, gradient_norm: Tensor) -> None:
        """Record the loss and the norm of the gradient of a step; both stay on their device until they are read."""
        self._waiting.append((step, loss.detach(), gradient_norm))

    def read(self) -> None:
        """Read the recorded values and add them to the next row.

        Raises:
            DivergedError: The loss or norm of a step is not finite; the message names the first such step.
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
        """Report an error within the block as a divergence if the run has diverged, as that is then the cause."""
        try:
            yield
        except Exception as error:
            try:
                self.read()
            except DivergedError as diverged:
                raise DivergedError(f"{diverged}\nThis led to: {error}"[:_MAX_MESSAGE]) from error
            raise

    def close_row(self, step: int, figures: Mapping[str, float]) -> None:
        """Append a row: the means of the recorded values, and figures of this step."""
        self.read()
        self.rows.append(
            {"step": step} | {name: total / self._steps for name, total in self._sums.items()} | {**figures}
        )
        self._sums, self._steps = {}, 0

    def warn(self, step: int, findings: Iterable[Finding]) -> None:
        """Print and store the findings of a step; of each kind, only the first one."""
        for finding in findings:
            if finding.kind not in {known["kind"] for known in self.warnings}:
                self.warnings.append({"step": step, "kind": finding.kind, "warning": finding.message})
                progress.say(f"pretrain, step {step}: warning: {finding.message}")

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint.

        Raises:
            DivergedError: A loss that had not been read is not finite, so there is no state to resume from.
        """
        self.read()
        return {"rows": self.rows, "warnings": self.warnings, "sums": self._sums, "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.rows, self.warnings = list(state["rows"]), list(state["warnings"])
        self._sums, self._steps = dict(state["sums"]), state["steps"]


def read_scalars(scalars: Mapping[str, Tensor]) -> Row:
    """Return the values of named scalars as `.item()` does, waiting for the device once per type of number.

    Only scalars of one type are read together, so no value is converted to another type.
    """
    alike = defaultdict[tuple[torch.dtype, torch.device], list[str]](list)
    for name, scalar in scalars.items():
        alike[scalar.dtype, scalar.device].append(name)
    values: Row = {}
    for names in alike.values():
        read = torch.stack([scalars[name].detach().reshape(()) for name in names]).tolist()
        values.update(zip(names, read, strict=True))
    return {name: values[name] for name in scalars}


class CurveFiles:
    """Curves as tables that grow during a run, one per figure, in DVCLive's format: `<name>.tsv`.

    Existing tables are removed, and all rows so far are written again: a run that resumes from a checkpoint has fewer
    rows than it had written before it was killed.

    Args:
        folder: The folder of the tables; None: nothing is written.
        rows: The rows so far.
    """

    def __init__(self, folder: Path | None, rows: Sequence[Row]):
        self._folder = folder
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.rglob("*.tsv"):  # not overwritten: it may be a link into DVC's cache
                old.unlink()
        self.add(rows)

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows in one write per table, so that other programs only ever read whole lines."""
        names = {name: None for row in rows for name in row if name != "step"}  # in order
        for name in names if self._folder else ():
            path = Path(self._folder or "", f"{name}.tsv")
            path.parent.mkdir(parents=True, exist_ok=True)
            lines: list[tuple[Any, Any]] = [("step", path.stem)] if not path.exists() else []
            lines += [(int(row["step"]), row[name]) for row in rows if name in row]
            with path.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file, delimiter="\t", lineterminator="\n").writerows(lines)


def write_curves(history: History, folder: Path) -> None:
    """Write `details.json` (the last row), `metrics.json` (its main figures) and `curves/<name>.tsv` into a folder.

    If the step that ships was chosen, details.json contains it as `shipped_step`.
    """
    CurveFiles(folder / "curves", history.rows)
    last = {name: value if math.isfinite(value) else None for name, value in history.rows[-1].items()}
    if history.shipped_step is not None:
        last["shipped_step"] = history.shipped_step
    write_json(folder / "details.json", last)
    write_json(folder / "metrics.json", {name: last[name] for name in _HEADLINE if last.get(name) is not None})
