"""Propose settings that fit the images, the machine and the time, and write them into params.yaml."""

from pathlib import Path

import click

from ssl_pipeline_stages.guarded import guarded


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
    from ssl_pipeline.config import Choice, load
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.planning import params_file
    from ssl_pipeline.planning.evidence import examine
    from ssl_pipeline.planning.machine import look_around
    from ssl_pipeline.planning.proposal import propose
    from ssl_pipeline.planning.sample import take
    from ssl_pipeline.planning.words import told_evidence, told_proposal
    from ssl_pipeline.yaml_file import read_yaml
    from ssl_pipeline_stages import code
    from ssl_pipeline_stages.shelf import SHELF, SHIPPED

    config, content = load(params), read_yaml(params)
    chosen = {"name": "folder", "path": path} if path else None
    if chosen:
        content["ingest"]["source"] = chosen
        ingest = config.ingest.model_copy(update={"source": Choice.model_validate(chosen)})
        config = config.model_copy(update={"ingest": ingest})
    record = params_file.read_record(params.parent)
    left = set() if overwrite else params_file.set_by_a_person(content, record, SHIPPED, SHIPPED)
    pixels = config.ingest.pixels if "ingest.pixels" in left else None
    evidence = examine(take(code.source(config).open(), pixels, config.ingest.background))
    machine = look_around()
    if explain:
        click.echo(told_evidence(evidence, machine) + "\n")
    proposal = propose(load_registry(), SHELF, evidence, machine, hours, content, left)
    click.echo(told_proposal(proposal))
    if not dry_run:
        params_file.write_settings(params, proposal.settings, chosen)
        click.echo(f"\nWrote {params}, and {params_file.RECORD}, by which the next plan knows what you have changed.")
