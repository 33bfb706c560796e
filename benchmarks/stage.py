"""A stage of a copied project, run in a process of its own and measured."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.project import environment
from ssl_pipeline.errors import ConfigError, PipelineError

__all__ = ["stage"]

MEASURED = """
import json, resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as out:
    json.dump({"seconds": used.ru_utime + used.ru_stime, "megabytes": used.ru_maxrss / 1e3}, out)
sys.exit(status)
"""
"""A program as small as that stands between: a process counts as its own what its parent had in memory at the start."""


def stage(project: Path, name: str, threads: int = 1) -> dict[str, float]:
    """Run a stage; return its `seconds` of processor time and its peak memory in `megabytes`.

    Raises:
        ConfigError: It refused its parameters.
        PipelineError: It ended with another message, as of a run that collapsed.
    """
    surroundings = environment() | {"OMP_NUM_THREADS": str(threads)}
    with tempfile.NamedTemporaryFile("r") as figures:
        words = [sys.executable, "-c", MEASURED, figures.name, sys.executable, "-m", "ssl_pipeline", name]
        done = subprocess.run(words, cwd=project, env=surroundings, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode in (1, 2) and "Traceback" not in done.stderr:
            message = done.stderr[done.stderr.rfind("error: ") :].removeprefix("error: ").strip()
            raise (ConfigError if done.returncode == ConfigError.exit_code else PipelineError)(message)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr}")
        used: dict[str, float] = json.load(figures)
    return used
