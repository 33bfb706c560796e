"""Processor time of commands that have nothing to do, relative to other commands that do nothing.

    python -m benchmarks.start_up [RUNS]

`ssl-pipeline --help` is compared with `python -c pass`. `dvc repro` in a project without changes, whose inventory still
checks its source and its code, is compared with `dvc version`. So is `floor`, a `dvc repro` of the same stages in which
the inventory only runs `cd .`: the difference between the two is our part. The two commands of a ratio take turns. A
line of JSON for each ratio states the median over the runs and the quartiles.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.project import copy_project, environment

RUNS = 11
Command = tuple[str, ...]


def seconds(command: Command, folder: Path) -> float:
    """Return the processor time of a command and of all processes that it starts, s."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    began = spent()
    subprocess.run(
        command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )
    return spent() - began


def compare(what: str, ours: Command, theirs: Command, folder: Path, runs: int) -> None:
    pairs = [(seconds(ours, folder), seconds(theirs, folder)) for _ in range(runs)]
    quartiles = statistics.quantiles([a / b for a, b in pairs], n=4, method="inclusive")
    lower, median, upper = (round(value, 2) for value in quartiles)
    best = [round(min(times), 3) for times in zip(*pairs, strict=True)]
    print(json.dumps({"what": what, "ratio": median, "quartiles": [lower, upper], "s": best}), flush=True)


@click.command()
@click.argument("runs", type=int, default=RUNS)
def main(runs: int) -> None:
    """Print the ratios, each measured in RUNS runs."""
    tools = Path(sys.executable).parent
    command, dvc = str(tools / "ssl-pipeline"), str(tools / "dvc")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        compare("--help / python -c pass", (command, "--help"), (sys.executable, "-c", "pass"), folder, runs)
        copy_project(folder)
        seconds((dvc, "config", "--local", "core.no_scm", "true"), folder)
        seconds((dvc, "repro", "ingest"), folder)
        repro, version = (dvc, "repro", "ingest"), (dvc, "version")
        compare("dvc repro / dvc version", repro, version, folder, runs)
        stages = folder / "dvc.yaml"
        stages.write_text(stages.read_text(encoding="utf-8").replace("ssl-pipeline inventory", "cd ."))
        seconds(repro, folder)
        compare("floor: dvc repro / dvc version", repro, version, folder, runs)


if __name__ == "__main__":
    main()
