"""Propose settings that fit the images, the machine and the time, and write them into params.yaml."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssl_pipeline_stages.guarded import guarded

if TYPE_CHECKING:
    from ssl_pipeline.planning.evidence import Evidence
    from ssl_pipeline.planning.machine import Machine
    from ssl_pipeline.planning.proposal import Proposal


@click.command()
@click.argument("path", required=False)
@click.option("--hours", type=click.FloatRange(0.05, 1e4), default=1.0, show_default=True, help="Time for all stages.")
@click.option("--explain", is_flag=True, help="Print the evidence as well.")
@click.option("--dry-run", is_flag=True, help="Print the settings, and write nothing.")
@click.option("--overwrite", is_flag=True, help="Also replace what you have set yourself.")
@click.option(
    "--params", default="params.yaml", type=click.Path(path_type=Path), show_default=True, help="The parameters."
)
def plan(path: str | None, hours: float, explain: bool, dry_run: bool, overwrite: bool, params: Path) -> None:
    """Fit params.yaml to images, machine and time, and say why each value is as it is.

    PATH is a directory or a .zip of images; without it, they are those of ingest.source. What you have set yourself
    stays, and so do comments.
    """
    raise SystemExit(guarded(lambda: _plan(path, hours, explain, dry_run, overwrite, params)))


def _plan(path: str | None, hours: float, explain: bool, dry_run: bool, overwrite: bool, params: Path) -> None:
    from ssl_pipeline.planning.params_file import RECORD
    from ssl_pipeline.planning.words import told_evidence, told_proposal

    def tell(evidence: "Evidence", machine: "Machine") -> None:
        if explain:
            click.echo(told_evidence(evidence, machine) + "\n")

    click.echo(told_proposal(fit(params, path, hours, overwrite, not dry_run, tell)))
    if not dry_run:
        click.echo(f"\nWrote {params}, and {RECORD}, by which the next plan knows what you have changed.")


def fit(
    params: Path,
    images: str | None,
    hours: float,
    overwrite: bool = False,
    write: bool = True,
    tell: "Callable[[Evidence, Machine], None]" = lambda evidence, machine: None,
) -> "Proposal":
    """Fit params.yaml to images, machine and time.

    Args:
        params: The path of params.yaml.
        images: The path of a directory or a .zip of images, as params.yaml is to have it; None: `ingest.source` stays.
        hours: The time that all stages together may take.
        overwrite: Whether values that a person has set are replaced, too.
        write: Whether params.yaml and plan.json are written.
        tell: A function that is given what the proposal is made from, some seconds before it is made.

    Raises:
        PipelineError: The images cannot be used, params.yaml has mistakes, or it cannot be written.
    """
    from ssl_pipeline.config import Choice, load
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.planning.evidence import examine
    from ssl_pipeline.planning.machine import look_around
    from ssl_pipeline.planning.params_file import read_record, set_by_a_person, write_settings
    from ssl_pipeline.planning.proposal import propose
    from ssl_pipeline.planning.sample import take
    from ssl_pipeline.yaml_file import read_yaml
    from ssl_pipeline_stages import code
    from ssl_pipeline_stages.shelf import SHELF, SHIPPED

    config, content = load(params), read_yaml(params)
    chosen = {"name": "folder", "path": images} if images else None
    if chosen:
        content["ingest"]["source"] = chosen
        ingest = config.ingest.model_copy(update={"source": Choice.model_validate(chosen)})
        config = config.model_copy(update={"ingest": ingest})
    left = set() if overwrite else set_by_a_person(content, read_record(params.parent), SHIPPED, SHIPPED)
    pixels = config.ingest.pixels if "ingest.pixels" in left else None
    evidence = examine(take(code.source(config).open(), pixels, config.ingest.background))
    machine = look_around()
    tell(evidence, machine)
    proposal = propose(load_registry(), SHELF, evidence, machine, hours, content, left)
    if write:
        write_settings(params, proposal.settings, chosen)
    return proposal


if __name__ == "__main__":
    plan()
