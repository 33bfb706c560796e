"""Findings of a run as sentences, read from the reports of its stages, for the summary and the page."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import read_json, require
from ssl_pipeline.remedies import remake
from ssl_pipeline.terminal import brief, counted

__all__ = ["BASELINES", "Verdict", "percent", "read_images", "read_proof", "read_verdict", "told"]

T = TypeVar("T")

BASELINES = {
    "start": "the starting weights",
    "random_encoder": "the same encoder untrained",
}
"""Key in the figures of linear_eval -> baseline that a summary compares the linear probe with."""


class Verdict(NamedTuple):
    """Results of the label budgets and of the linear probe.

    Attributes:
        accuracies: Accuracies of the probe and of its baselines, on one line; "" if nothing could be measured.
        lines: Verdict on the label budgets: a sentence on all of them, one on each, and how to read them.
    """

    accuracies: str
    lines: list[str]


def told(path: Path, stage: str, tell: Callable[[Path], T]) -> T:
    """Return what `tell` makes of a product.

    Args:
        path: Path of the product.
        stage: Stage that writes the product.
        tell: Function that reads the file and returns what to show.

    Raises:
        PipelineError: The product is missing, or is not what the stage wrote.
    """
    try:
        return tell(require(path, stage))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OSError) as error:
        raise PipelineError(f"{path} is damaged ({brief(error)}): {remake(stage)}.") from error


def read_verdict(reports: Path) -> Verdict:
    """Read the verdict of the last run.

    Args:
        reports: Folder of all reports.

    Raises:
        PipelineError: A report is missing or damaged.
    """
    linear, verdict = reports / "linear_eval" / "details.json", reports / "finetune" / "verdict.txt"
    accuracies = told(linear, "linear_eval", lambda path: _accuracies(read_json(path, "linear_eval")))
    return Verdict(accuracies, told(verdict, "finetune", lambda path: path.read_text(encoding="utf-8").splitlines()))


def read_proof(reports: Path) -> tuple[float, str]:
    """Read how closely the exported backbone matches the trained one.

    Args:
        reports: Folder of all reports.

    Returns:
        The smallest cosine between embeddings of the graph and of torch, and a sentence on the sizes of the views (""
        if all views had one size).

    Raises:
        PipelineError: The report is missing or damaged.
    """

    def tell(path: Path) -> tuple[float, str]:
        found = read_json(path, "export")
        return float(found["parity"]["min_cosine"]), _sizes(found.get("view_sizes"))

    return told(reports / "export" / "details.json", "export", tell)


def read_images(reports: Path) -> str:
    """Read what the embeddings reveal about the images, as the beginning of a sentence.

    Args:
        reports: Folder of all reports.

    Raises:
        PipelineError: The report is missing or damaged.
    """

    def tell(path: Path) -> str:
        found = read_json(path, "curate")["near_duplicates"]
        doubled, leaking = int(found["images"]), int(found["pairs_across_splits"])
        return f"Images: {counted(doubled, 'near-duplicate')}, {counted(leaking, 'pair')} across splits"

    return told(reports / "curate" / "details.json", "curate", tell)


def percent(found: Mapping[str, Any]) -> str:
    """Return an accuracy and its interval in percent, as text."""
    return f"{100 * found['accuracy']:.1f}% [{100 * found['accuracy_low']:.1f}, {100 * found['accuracy_high']:.1f}]"


def _sizes(sizes: Any) -> str:
    """Return a sentence on the sizes of the views in pretraining; "" if all had one size."""
    from ssl_pipeline.resolution import in_words

    return f"Pretrained on {in_words([(begin, side) for begin, side in sizes])}" if sizes else ""


def _accuracies(linear: Any) -> str:
    if not isinstance(linear, dict):
        raise TypeError("it is not a mapping")
    if "accuracy" not in linear:
        return ""
    figures = {"Linear probe": linear} | {word: linear[name] for name, word in BASELINES.items() if name in linear}
    return "; ".join(f"{word}: {percent(found)}" for word, found in figures.items())
