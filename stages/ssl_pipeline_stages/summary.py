"""Print the results of a run in a few lines, with the paths of its products."""

import click

from ssl_pipeline_stages.guarded import guarded
from ssl_pipeline_stages.paths import AUGMENTED, BUNDLE, EXPORT, FINETUNE, PAGE, REPORTS


@click.command()
def summary() -> None:
    """Print the results of the last run and where to find its products."""
    raise SystemExit(guarded(_print))


def _print() -> None:
    from ssl_pipeline.page.verdict import read_images, read_proof, read_verdict

    cosine, sizes = read_proof(REPORTS)
    images, verdict = read_images(REPORTS), read_verdict(REPORTS)
    click.echo(f"\nBackbone: {EXPORT / 'backbone.onnx'}, proved equal to torch (min cosine {cosine:.6f})")
    for line in filter(None, [sizes, verdict.accuracies]):
        click.echo(line)
    click.echo("\n".join(verdict.lines))
    click.echo(f"{images}; {REPORTS / 'curate' / 'images.csv'} describes each image on a line")
    classifier = FINETUNE / "classifier.onnx"
    if classifier.exists():
        click.echo(f"Classifier: {classifier}, fine-tuned on the largest number of labels")
    if BUNDLE.exists():
        click.echo(f"To deploy: {BUNDLE}; its verify.py checks it on the target machine")
    if PAGE.exists():
        click.echo(f"All results on one page: {PAGE}; `ssl-pipeline report --open` opens it.")
    click.echo(f"See also {AUGMENTED / 'preview.png'} (the views), {REPORTS}/*/pictures and `dvc metrics show`.")
