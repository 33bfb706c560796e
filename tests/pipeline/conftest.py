"""A copy of the project in which the whole pipeline has run once, on few epochs."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.project import change, copy_project, environment

QUICK = {
    "pretrain": {"epochs": 6, "warmup_epochs": 1, "collapse": {"min_embedding_std": 0.0, "min_effective_rank": 0.0}},
    "linear_eval": {"strengths": [0.01, 1.0], "bootstrap": 100},
    "finetune": {"budgets": [1, 5], "draws": 2, "steps": 8, "learning_rates": [1e-3], "epochs": 1},
}

# dvc commits experiments, and a machine may have no git identity
IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "Tester"), ("EMAIL", "tester@example.com"))
}

NETWORK_LOG = "network.log"
"""Beside the finished project: which Python processes ran, and what network they tried to reach."""

WATCH = Path(__file__).parent / "watch"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def command(folder: Path, **variables: str) -> Run:
    """A function that runs a command in a folder and returns what it printed; it must succeed unless told otherwise."""

    def run(*words: str, status: int | None = 0) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            words,
            cwd=folder,
            env={**environment(), **IDENTITY, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        if status is not None:
            assert done.returncode == status, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done

    return run


def git(run: Run) -> None:
    """Make the folder a git repository with one commit."""
    run("git", "init", "-q")
    run("git", "add", ".")
    run("git", "commit", "-qm", "start")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline's folder after one quick run; tests must leave it as it was."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    copy_project(folder)
    change(folder, **QUICK)
    git(command(folder))
    watched = os.pathsep.join([str(WATCH), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = command(folder, PYTHONPATH=watched, NETWORK_LOG=str(folder.parent / NETWORK_LOG))
    run("dvc", "repro", "-q")
    return folder


@pytest.fixture
def project(tmp_path: Path, finished: Path) -> Path:
    """A copy of the finished project, to be changed at will."""
    folder = tmp_path / "project"
    shutil.copytree(finished, folder, symlinks=True)
    return folder
