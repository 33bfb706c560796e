"""What comes of the fine-tuning study: figures, a table, a picture, a verdict in words, and the classifier."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssl_pipeline.deployment.classifier import opset_of, write_classifier
from ssl_pipeline.deployment.parity import verify
from ssl_pipeline.evaluation.budget_picture import draw_budgets
from ssl_pipeline.evaluation.label_budgets import ARMS, Outcome, Study
from ssl_pipeline.evaluation.verdict import judge, metrics, overall, sentence
from ssl_pipeline.products import atomic_file, atomic_folder, digest, write_json

__all__ = ["report", "report_obstacle", "write_product"]

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


def report_obstacle(folder: Path, product: Path, reason: str) -> str:
    """Say the same in the same files where nothing could be compared.

    Args:
        folder: Where the report goes.
        product: Folder that receives no_classifier.json instead of a classifier.
        reason: What stands in the way.

    Returns:
        The line that says so.
    """
    line = f"finetune: nothing to compare, and no classifier: {reason}."
    with atomic_folder(folder / "pictures"):
        pass
    _write(folder, {"labelled": False}, [], line)
    write_json(product / "no_classifier.json", {"classifier": None, "reason": reason})
    return line


def write_product(
    folder: Path, study: Study, backbone: Path, originals: Sequence[npt.NDArray[np.uint8]], command: Sequence[str]
) -> None:
    """Write the study's classifier, and prove that its graph computes what was trained.

    Args:
        folder: To be thrown away if this raises.
        study: Has been run.
        backbone: backbone.onnx, whose operator set the classifier's graph takes over.
        originals: Images (H, W, 3) for the proof.
        command: Rebuilds the model of the folder in a new process; see `parity.verify`.

    Raises:
        PipelineError: The graph computes something else.
    """
    model = study.classifier.cpu()
    shaped_by = digest([study.card.params_sha256, study.config.model_dump(mode="json")])
    path = write_classifier(
        folder,
        model.encoder,
        model.head,
        study.card.model_copy(update={"params_sha256": shaped_by}),
        study.data.classes,
        opset=opset_of(backbone),
        metadata={"labels_per_class": str(study.budgets[-1])},
    )
    verify(path, originals, command)


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
