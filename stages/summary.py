"""Say in a few lines what the pipeline found, and where its products lie."""

import click

from stages.guarded import guarded
from stages.paths import AUGMENTED, EXPORT, FINETUNE, REPORTS


@click.command()
def summary() -> None:
    """Print the verdicts of the last run and where to look."""
    raise SystemExit(guarded(_print))


def _print() -> None:
    from ssl_pipeline.products import read_json, require

    parity = read_json(REPORTS / "export" / "metrics.json", "export")
    linear = read_json(REPORTS / "linear_eval" / "metrics.json", "linear_eval")
    click.echo(f"\nBackbone: {EXPORT / 'backbone.onnx'}, proved equal to torch (min cosine {parity['min_cosine']:.6f})")
    if "accuracy" in linear:
        told = {"start": "the weights it started from", "random_encoder": "the same encoder untrained"}
        figures = {"Linear probe": linear} | {words: linear[name] for name, words in told.items() if name in linear}
        click.echo(
            "; ".join(
                f"{words}: {found['accuracy']:.1%} [{found['accuracy_low']:.1%}, {found['accuracy_high']:.1%}]"
                for words, found in figures.items()
            )
        )
    click.echo(require(REPORTS / "finetune" / "verdict.txt", "finetune").read_text(encoding="utf-8").strip())
    click.echo(
        f"Look at {AUGMENTED / 'preview.png'} (the views), {REPORTS}/ (curves, confusion, label budgets), "
        f"{FINETUNE / 'classifier.onnx'}; `dvc metrics show`, `dvc plots show`."
    )


if __name__ == "__main__":
    summary()
