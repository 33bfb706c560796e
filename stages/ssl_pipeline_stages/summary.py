"""Say in a few lines what the pipeline found, and where its products lie."""

import click

from ssl_pipeline_stages.guarded import guarded
from ssl_pipeline_stages.paths import AUGMENTED, BUNDLE, EXPORT, FINETUNE, PAGE, REPORTS


@click.command()
def summary() -> None:
    """Print the verdicts of the last run and where to look."""
    raise SystemExit(guarded(_print))


def _print() -> None:
    from ssl_pipeline.page.verdict import read_images, read_proof, read_verdict

    cosine, sizes = read_proof(REPORTS)
    images, verdict = read_images(REPORTS), read_verdict(REPORTS)
    click.echo(f"\nBackbone: {EXPORT / 'backbone.onnx'}, proved equal to torch (min cosine {cosine:.6f})")
    for line in filter(None, [sizes, verdict.accuracies]):
        click.echo(line)
    click.echo("\n".join(verdict.lines))
    click.echo(f"{images}; {REPORTS / 'curate' / 'images.csv'} has a line for each image")
    classifier = FINETUNE / "classifier.onnx"
    if classifier.exists():
        click.echo(f"Classifier: {classifier}, fine-tuned with the most labels")
    if BUNDLE.exists():
        click.echo(f"To hand on: {BUNDLE}, whose verify.py verifies it on the machine where it runs")
    if PAGE.exists():
        click.echo(f"All of it on one page: {PAGE}; `ssl-pipeline report --open` opens it.")
    click.echo(f"Look at {AUGMENTED / 'preview.png'} (the views) and {REPORTS}/*/pictures; type `dvc metrics show`.")
