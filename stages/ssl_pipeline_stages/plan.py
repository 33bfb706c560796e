"""Propose settings that fit the images, the machine and the time, and write them into params.yaml."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssl_pipeline_stages.guarded import guarded
from ssl_pipeline_stages.starts import Start, start_options

if TYPE_CHECKING:
    from ssl_pipeline.planning.evidence import Evidence
    from ssl_pipeline.planning.machine import Machine


@click.command()
@click.argument("path", required=False)
@click.option("--hours", type=click.FloatRange(0.05, 1e4), default=1.0, show_default=True, help="Time for all stages.")
@start_options
@click.option("--explain", is_flag=True, help="Print the evidence as well.")
@click.option("--dry-run", is_flag=True, help="Print the settings without writing them.")
@click.option("--overwrite", is_flag=True, help="Also replace values that you have set yourself.")
@click.option(
    "--params", default="params.yaml", type=click.Path(path_type=Path), show_default=True, help="The parameters."
)
def plan(
    path: str | None, hours: float, start: Start, explain: bool, dry_run: bool, overwrite: bool, params: Path
) -> None:
    """Fit params.yaml to your images, machine and time, and give the reason for each value.

    PATH is a directory or .zip of images, or a directory of films; the default is ingest.source. Values that you have
    set yourself and comments are preserved.
    """
    raise SystemExit(guarded(lambda: _plan(path, hours, start, explain, dry_run, overwrite, params)))


def _plan(
    path: str | None, hours: float, start: Start, explain: bool, dry_run: bool, overwrite: bool, params: Path
) -> None:
    from ssl_pipeline.planning.params_file import RECORD, write_settings
    from ssl_pipeline.planning.words import told_evidence, told_proposal
    from ssl_pipeline_stages.fitting import fit, recognised
    from ssl_pipeline_stages.params import load_params

    def tell(evidence: "Evidence", machine: "Machine") -> None:
        if explain:
            click.echo(told_evidence(evidence, machine) + "\n")

    load_params(params)  # report mistakes before opening any image
    chosen, remarks = recognised(path) if path else (None, [])
    for remark in remarks:
        click.echo(remark + "\n")
    proposal = fit(params, chosen, hours, overwrite, tell, start)
    click.echo(told_proposal(proposal))
    if not dry_run:
        write_settings(params, proposal.settings, chosen)
        click.echo(f"\nWrote {params} and {RECORD}, from which the next plan sees what you have changed.")
