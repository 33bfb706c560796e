"""Run a stage of a copied project in a separate process, and measure it."""

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
"""A small program between this process and the stage, because the peak memory of a process includes the memory of its
parent when it was started."""


def stage(project: Path, name: str, threads: int = 1) -> dict[str, float]:
    """Run a stage; return its `seconds` of processor time and its peak memory in `megabytes`.

    Raises:
        ConfigError: The stage has refused its parameters.
        PipelineError: The stage has ended with another message, for example because of a collapse.
        SystemExit: The stage has failed with a traceback or a signal.
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
