"""What a run found, read from what the stages left: in sentences, for the summary and for the page."""

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
    "start": "the weights it started from",
    "random_encoder": "the same encoder untrained",
}
"""What the linear probe is held against in a summary, by its key in the figures."""


class Verdict(NamedTuple):
    """What the label budgets and the linear probe say.

    Attributes:
        accuracies: The accuracies of the probe and of its baselines; "" where nothing could be measured.
        lines: The verdict on label budgets: a sentence on all of them, one on each, and how to read them.
    """

    accuracies: str
    lines: list[str]


def told(path: Path, stage: str, tell: Callable[[Path], T]) -> T:
    """Return what a function makes of a product.

    Args:
        path: The file.
        stage: The stage that writes it.
        tell: What reads it.

    Raises:
        PipelineError: It is missing, or is not what the stage wrote.
    """
    try:
        return tell(require(path, stage))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OSError) as error:
        raise PipelineError(f"{path} is damaged ({brief(error)}): {remake(stage)}.") from error


def read_verdict(reports: Path) -> Verdict:
    """Read what the last run found.

    Args:
        reports: The folder of all reports.

    Raises:
        PipelineError: A report is missing or damaged.
    """
    linear, verdict = reports / "linear_eval" / "details.json", reports / "finetune" / "verdict.txt"
    accuracies = told(linear, "linear_eval", lambda path: _accuracies(read_json(path, "linear_eval")))
    return Verdict(accuracies, told(verdict, "finetune", lambda path: path.read_text(encoding="utf-8").splitlines()))


def read_proof(reports: Path) -> tuple[float, str]:
    """Read how the exported backbone stands to what was trained.

    Args:
        reports: The folder of all reports.

    Returns:
        The least cosine between the embeddings of the graph and of torch, and, where the run had views of several
        sizes, a sentence that says which.

    Raises:
        PipelineError: The report is missing or damaged.
    """

    def tell(path: Path) -> tuple[float, str]:
        found = read_json(path, "export")
        return float(found["parity"]["min_cosine"]), _sizes(found.get("view_sizes"))

    return told(reports / "export" / "details.json", "export", tell)


def read_images(reports: Path) -> str:
    """Read what the embeddings tell of the images themselves, as the beginning of a sentence.

    Args:
        reports: The folder of all reports.

    Raises:
        PipelineError: The report is missing or damaged.
    """

    def tell(path: Path) -> str:
        found = read_json(path, "curate")["near_duplicates"]
        doubled, leaking = int(found["images"]), int(found["pairs_across_splits"])
        return f"Images: {counted(doubled, 'near-duplicate')}, {counted(leaking, 'pair')} across splits"

    return told(reports / "curate" / "details.json", "curate", tell)


def percent(found: Mapping[str, Any]) -> str:
    """Return an accuracy with its interval, in percent."""
    return f"{100 * found['accuracy']:.1f}% [{100 * found['accuracy_low']:.1f}, {100 * found['accuracy_high']:.1f}]"


def _sizes(sizes: Any) -> str:
    """Return how large the views were that it was trained on; "" where they were of one size."""
    from ssl_pipeline.resolution import in_words

    return f"Pretrained on {in_words([(begin, side) for begin, side in sizes])}" if sizes else ""


def _accuracies(linear: Any) -> str:
    if not isinstance(linear, dict):
        raise TypeError("no mapping")
    if "accuracy" not in linear:
        return ""
    figures = {"Linear probe": linear} | {word: linear[name] for name, word in BASELINES.items() if name in linear}
    return "; ".join(f"{word}: {percent(found)}" for word, found in figures.items())
