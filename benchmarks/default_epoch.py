"""Measure the default run with `benchmarks.epoch`, in a copy of the project: `python -m benchmarks.default_epoch`."""

import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.project import copy_project, environment
from benchmarks.stage import stage


@click.command()
@click.option("--rounds", default=2, show_default=True, help="Number of rounds, each with a whole run.")
def main(rounds: int) -> None:
    """Print the ratio of the time per step of the default run, everything included, to that of a bare step."""
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "project"
        copy_project(project)
        for name in ("ingest", "augment"):
            stage(project, name)
        words = [sys.executable, "-m", "benchmarks.epoch", "--rounds", str(rounds)]
        subprocess.run(words, cwd=project, env=environment(), check=True)


if __name__ == "__main__":
    main()
