"""A run's curves and warnings: kept in checkpoints; curves are written in DVCLive's files and as a picture."""

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

from ssl_pipeline import progress
from ssl_pipeline.types import Finding

__all__ = ["History", "write_curves", "write_picture"]

Row = dict[str, float]


class History:
    """What a run has to tell.

    Attributes:
        rows: Figures, a row for each logged step; what was noted since the last row is averaged.
        warnings: What went wrong, each kind once: {"step": when it was first seen, "kind": its name, "warning": the
            message}.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.warnings: list[dict[str, Any]] = []
        self._sums: Row = {}
        self._steps = 0

    def note(self, figures: Mapping[str, float]) -> None:
        """Add one step's figures to the row to come."""
        self._steps += 1
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def close_row(self, step: int, figures: Mapping[str, float]) -> None:
        """End the row: the means of what was noted, and figures that are of this step alone."""
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
        """Return the state for a checkpoint."""
        return {"rows": self.rows, "warnings": self.warnings, "sums": self._sums, "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint holds."""
        self.rows, self.warnings = list(state["rows"]), list(state["warnings"])
        self._sums, self._steps = dict(state["sums"]), state["steps"]


def write_curves(history: History, folder: Path) -> None:
    """Write `metrics.json` (the last row) and `curves/<name>.tsv` into a folder.

    DVCLive looks for a git repository around the current folder, and refuses one without a commit; it needs none for
    writing files, and is shown a folder that has none.
    """
    from dvclive.live import Live

    target = folder.absolute()
    with (
        tempfile.TemporaryDirectory() as elsewhere,
        chdir(elsewhere),
        Live(str(target), dvcyaml=None, save_dvc_exp=False, report=None, monitor_system=False) as live,
    ):
        for row in history.rows:
            live.step = int(row["step"])
            for name, value in row.items():
                if name != "step":
                    live.log_metric(name, value)
    shutil.move(target / "plots" / "metrics", target / "curves")
    shutil.rmtree(target / "plots")


def write_picture(history: History, path: Path) -> None:
    """Draw every curve in a panel of its own, over the steps."""
    from matplotlib.figure import Figure

    names = [name for name in history.rows[-1] if name != "step"]
    columns = 3
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flat
    steps = [row["step"] for row in history.rows]
    for panel, name in zip(panels, names, strict=False):
        panel.plot(steps, [row[name] for row in history.rows])
        panel.set_title(name.replace("_", " "), fontsize=10)
        panel.grid(alpha=0.3)
    for panel in list(figure.axes)[len(names) :]:
        panel.set_axis_off()
    for panel in figure.axes[max(0, len(names) - columns) : len(names)]:
        panel.set_xlabel("step")
    figure.savefig(path, dpi=110)
