"""Say in a few lines what the pipeline found, and where its products lie."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import brief
from ssl_pipeline_stages.guarded import guarded
from ssl_pipeline_stages.paths import AUGMENTED, EXPORT, FINETUNE, REPORTS


@click.command()
def summary() -> None:
    """Print the verdicts of the last run and where to look."""
    raise SystemExit(guarded(_print))


def _print() -> None:
    from ssl_pipeline.products import read_json, require

    def told(stage: str, name: str, tell: Callable[[Path], str]) -> str:
        path = REPORTS / stage / name
        try:
            return tell(require(path, stage))
        except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:  # not what the stage wrote
            raise PipelineError(f"{path} is damaged ({brief(error)}): run `dvc repro --force {stage}`.") from error

    cosine = told("export", "details.json", lambda path: f"{read_json(path, 'export')['parity']['min_cosine']:.6f}")
    accuracies = told("linear_eval", "details.json", lambda path: _accuracies(read_json(path, "linear_eval")))
    sizes = told("export", "details.json", lambda path: _sizes(read_json(path, "export").get("view_sizes")))
    verdict = told("finetune", "verdict.txt", lambda path: path.read_text(encoding="utf-8").strip())
    click.echo(f"\nBackbone: {EXPORT / 'backbone.onnx'}, proved equal to torch (min cosine {cosine})")
    if sizes:
        click.echo(sizes)
    if accuracies:
        click.echo(accuracies)
    click.echo(verdict)
    classifier = FINETUNE / "classifier.onnx"
    if classifier.exists():
        click.echo(f"Classifier: {classifier}, fine-tuned with the most labels")
    click.echo(f"Look at {AUGMENTED / 'preview.png'} (the views) and {REPORTS}/*/pictures; type `dvc metrics show`.")


def _sizes(sizes: Any) -> str:
    """Return how large the views were that it was trained on; "" where they were of one size."""
    from ssl_pipeline.resolution import in_words

    return f"Pretrained on {in_words([(begin, side) for begin, side in sizes])}" if sizes else ""


def _accuracies(linear: Any) -> str:
    """Return accuracies of the linear probe, with their intervals; "" where nothing could be measured."""
    if not isinstance(linear, dict):
        raise TypeError("no mapping")
    if "accuracy" not in linear:
        return ""
    words = {"start": "the weights it started from", "random_encoder": "the same encoder untrained"}
    figures = {"Linear probe": linear} | {word: linear[name] for name, word in words.items() if name in linear}
    return "; ".join(f"{word}: {_percent(found)}" for word, found in figures.items())


def _percent(found: Any) -> str:
    return f"{100 * found['accuracy']:.1f} % [{100 * found['accuracy_low']:.1f}, {100 * found['accuracy_high']:.1f}]"
