"""Duration of the default run on the bundled digits, as `make repro` starts it: `python -m benchmarks.default_run`.

`dvc repro` runs a copy of the project with the threads of the environment, measured in wall-clock time. The cache of
traced graphs is empty, as on a new machine. Then augment, which hardly depends on the number of images, runs twice
more in one thread to measure its processor time and memory: once with the graphs of that run in the cache, and once
without a cache.

Each line of the output is a JSON object.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import click

from benchmarks.project import change, copy_project, environment
from benchmarks.stage import stage
from ssl_pipeline.deployment import traces

STAGES = "Running stage '"


def dvc(project: Path, *words: str) -> str:
    """Run dvc and return its output."""
    done = subprocess.run(["dvc", *words], cwd=project, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"dvc {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def timed(project: Path) -> dict[str, float]:
    """Run the pipeline; return the duration of each stage, s, between the lines in which dvc announces the stages."""
    unbuffered = environment() | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        ["dvc", "repro"], cwd=project, env=unbuffered, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    starts: dict[str, float] = {}
    for line in process.stdout:
        if line.startswith(STAGES):
            starts[line.removeprefix(STAGES).partition("'")[0]] = time.monotonic()
    if process.wait():
        raise SystemExit(f"dvc repro ended with status {process.returncode}")
    ends = [*list(starts.values())[1:], time.monotonic()]
    return {name: round(end - begin, 1) for (name, begin), end in zip(starts.items(), ends, strict=True)}


@click.command()
@click.option("--epochs", type=int, help="Number of epochs, to try this benchmark; default: as in params.yaml.")
def main(epochs: int | None) -> None:
    """Print the duration of the default run, and the time and memory of augment."""
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "project"
        copy_project(project)
        if epochs is not None:
            change(project, pretrain={"epochs": epochs})
        os.environ[traces.FOLDER] = str(Path(scratch) / "cache")
        dvc(project, "config", "--local", "core.no_scm", "true")
        stages = timed(project)
        tell(what="the default run", seconds=round(sum(stages.values()), 1), stages=stages)
        tell(what="augment again", **stage(project, "augment"))
        os.environ[traces.FOLDER] = ""
        tell(what="augment alone", **stage(project, "augment"))


def tell(**line: object) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
