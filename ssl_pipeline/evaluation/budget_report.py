"""What the fine-tuning stage reports: figures, a table, a picture and a verdict in words."""

import csv
from collections.abc import Sequence
from pathlib import Path

from ssl_pipeline.evaluation.budget_picture import draw_budgets
from ssl_pipeline.evaluation.label_budgets import ARMS, Outcome
from ssl_pipeline.evaluation.verdict import judge, metrics, overall, sentence
from ssl_pipeline.products import atomic_file, atomic_folder, write_json

__all__ = ["report", "report_obstacle"]

_TABLE = ("budget", "images", "draw", *ARMS, *(f"{arm}_balanced" for arm in ARMS), *(f"{arm}_chosen" for arm in ARMS))

_FOOTNOTE = """\
Accuracy on {images} test images, mean of {draws} draws of labels ± half of a 95 % interval over draws and test images.
From scratch: the same network with random weights, on the same labels, views and steps. Every learning rate was chosen
from one grid on validation images, by each arm for itself."""


def report(folder: Path, outcomes: Sequence[Outcome], classes: int) -> str:
    """Write metrics.json, label_budget.csv, pictures/label_budget.png and verdict.txt.

    Args:
        folder: Where they go.
        outcomes: Of every budget, arm and draw.
        classes: How many classes there are.

    Returns:
        The verdict: a line on all budgets, a line for each, and how to read them.
    """
    verdicts = judge(outcomes)
    footnote = _FOOTNOTE.format(images=len(outcomes[0].correct), draws=verdicts[0].draws)
    verdict = "\n".join([overall(verdicts), *map(sentence, verdicts), footnote])
    with atomic_folder(folder / "pictures") as pictures:
        draw_budgets(verdicts, classes, pictures / "label_budget.png")
    _write(folder, metrics(verdicts), _rows(outcomes), verdict)
    return verdict


def report_obstacle(folder: Path, reason: str) -> str:
    """Write the same files where nothing could be compared; return the line that says so."""
    line = f"finetune: nothing to compare, and no classifier: {reason}."
    with atomic_folder(folder / "pictures"):
        pass
    _write(folder, {"labelled": False}, [], line)
    return line


def _rows(outcomes: Sequence[Outcome]) -> list[list[object]]:
    """A row for each budget and draw, the arms side by side."""
    rows: list[list[object]] = []
    for budget, draw in dict.fromkeys((outcome.budget, outcome.draw) for outcome in outcomes):
        of = {one.arm: one for one in outcomes if (one.budget, one.draw) == (budget, draw)}
        arms = [of[arm] for arm in ARMS]
        accuracies = [f"{one.accuracy:.6f}" for one in arms] + [f"{one.balanced_accuracy:.6f}" for one in arms]
        rows.append([budget, arms[0].images, draw, *accuracies, *(f"{one.chosen:g}" for one in arms)])
    return rows


def _write(folder: Path, figures: dict[str, object], rows: Sequence[Sequence[object]], verdict: str) -> None:
    write_json(folder / "metrics.json", figures)
    with atomic_file(folder / "label_budget.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([_TABLE, *rows])
    with atomic_file(folder / "verdict.txt") as path:
        path.write_text(verdict + "\n", encoding="utf-8")
