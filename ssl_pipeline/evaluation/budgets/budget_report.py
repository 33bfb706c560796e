"""What comes of the fine-tuning study: figures, a table, a picture, a verdict in words, and the classifier."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.deployment.classifier_graph import opset_of, write_classifier
from ssl_pipeline.deployment.parity import verify
from ssl_pipeline.evaluation.budgets.budget_picture import draw_budgets
from ssl_pipeline.evaluation.budgets.budget_verdicts import CONTROLS, Verdict, judge, metrics, overall, sentence
from ssl_pipeline.evaluation.budgets.study import ARMS, Arm, Outcome, Study
from ssl_pipeline.products import atomic_file, atomic_folder, digest, write_json

__all__ = ["report", "report_obstacle", "write_product"]

_FOOTNOTE = """\
Accuracy on {images}, mean of {draws} draws of labels, with its 95 % interval over draws and test images; differences
± half of theirs.
{control}: the same network, with {weights}.
It learns as the pretrained encoder does: the head starts from a probe of the encoder's own features, and batch norms
have statistics of the same images. From scratch: random weights and a random head, with statistics of the batches, as
one trains without pretraining. All learn from the same labels, views and steps. Every learning rate was chosen from one
grid on validation images, by each arm for itself.
{luck}
p: of the less certain of the two differences, after Holm's correction over the budgets; below 0.05 it counts."""

_WEIGHTS: dict[Arm, str] = {"random": "other weights in each draw", "start": "the weights that pretraining was given"}


def report(folder: Path, outcomes: Sequence[Outcome], classes: int, groups: npt.NDArray[np.int64]) -> str:
    """Write metrics.json, label_budget.csv, pictures/label_budget.png and verdict.txt.

    Args:
        folder: Where they go.
        outcomes: Outcomes of every budget, arm, encoder and draw.
        classes: How many classes there are.
        groups: (n_test,) numbers of the test images' groups, equal for images of one group.

    Returns:
        The verdict: a line on all budgets, a line for each, and how to read them.
    """
    verdicts = judge(outcomes, groups)
    verdict = "\n".join([overall(verdicts), *map(sentence, verdicts), _footnote(verdicts[0], groups)])
    with atomic_folder(folder / "pictures") as pictures:
        draw_budgets(verdicts, classes, pictures / "label_budget.png")
    arms = list(verdicts[0].accuracy)
    _write(folder, metrics(verdicts), _columns(arms), _rows(outcomes, arms), verdict)
    return verdict


def _footnote(verdict: Verdict, groups: npt.NDArray[np.int64]) -> str:
    """How to read the verdict."""
    count = len(np.unique(groups))
    images = f"{len(groups)} test images" + (f" of {count} groups" if count < len(groups) else "")
    if verdict.encoders > 1:
        luck = f"The pretrained arms are means of {verdict.encoders} encoders, whose spread the intervals hold."
    elif verdict.control == "start":
        luck = "Intervals are given this one pretrained encoder: those of other seeds would differ (finetune.encoders)."
    else:
        luck = (
            "Intervals are given this one pretrained encoder. Differences from random weights allow for its luck,\n"
            "which they take to be that of random weights; finetune.encoders measures it."
        )
    control, weights = CONTROLS[verdict.control].capitalize(), _WEIGHTS[verdict.control]
    return _FOOTNOTE.format(images=images, draws=verdict.draws, control=control, weights=weights, luck=luck)


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
    arms = [arm for arm in ARMS if arm != "start"]
    _write(folder, {"labelled": False}, _columns(arms), [], line)
    write_json(product / "no_classifier.json", {"classifier": None, "reason": reason})
    return line


def write_product(
    folder: Path, study: Study, backbone: Path, originals: Sequence[Pixels], command: Sequence[str]
) -> None:
    """Write the study's classifier, and prove that its graph computes what was trained.

    Args:
        folder: A folder that receives the files, to be thrown away if this raises.
        study: Has been run.
        backbone: backbone.onnx, whose operator set the classifier's graph takes over.
        originals: Images (H, W, C) for the proof.
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


def _columns(arms: Sequence[Arm]) -> list[str]:
    named = (*arms, *(f"{arm}_balanced" for arm in arms), *(f"{arm}_chosen" for arm in arms))
    return ["budget", "images", "encoder", "draw", *named]


def _rows(outcomes: Sequence[Outcome], arms: Sequence[Arm]) -> list[list[object]]:
    """A row for each budget, encoder and draw, the arms side by side; empty where an arm has one encoder only."""
    rows: list[list[object]] = []
    for budget, encoder, draw in dict.fromkeys((one.budget, one.encoder, one.draw) for one in outcomes):
        of = {one.arm: one for one in outcomes if (one.budget, one.encoder, one.draw) == (budget, encoder, draw)}
        ones = [of.get(arm) for arm in arms]
        accuracies = [f"{one.accuracy:.6f}" if one else "" for one in ones]
        balanced = [f"{one.balanced_accuracy:.6f}" if one else "" for one in ones]
        chosen = [f"{one.chosen:g}" if one else "" for one in ones]
        rows.append([budget, of["finetune"].images, encoder, draw, *accuracies, *balanced, *chosen])
    return rows


def _write(
    folder: Path, figures: dict[str, object], columns: Sequence[str], rows: Sequence[Sequence[object]], verdict: str
) -> None:
    write_json(folder / "metrics.json", figures)
    with atomic_file(folder / "label_budget.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    with atomic_file(folder / "verdict.txt") as path:
        path.write_text(verdict + "\n", encoding="utf-8")
