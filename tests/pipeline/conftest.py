"""A copy of the project in which the whole pipeline has run once, on few epochs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PARTS = ("stages", "plugins", "ssl_pipeline", "dvc.yaml", "params.yaml", "plugins.lock", ".dvc/config", ".dvcignore", ".gitignore")
QUICK = {
    "pretrain": {"epochs": 6, "warmup_epochs": 1, "collapse": {"min_embedding_std": 0.0, "min_effective_rank": 0.0}},
    "linear_eval": {"strengths": [0.01, 1.0], "bootstrap": 100},
    "finetune": {"budgets": [1, 5], "draws": 2, "steps": 8, "learning_rates": [1e-3], "epochs": 1},
}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def copy_project(folder: Path) -> None:
    """The files that the pipeline needs, without products, caches or git."""
    for part in PARTS:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    (folder / "images").mkdir()
    (folder / "images" / ".gitkeep").touch()


def change(folder: Path, **sections: dict[str, Any]) -> None:
    """Change values of params.yaml."""
    path = folder / "params.yaml"
    content = yaml.safe_load(path.read_text())
    for name, values in sections.items():
        content[name].update(values)
    path.write_text(yaml.safe_dump(content))


def command(folder: Path) -> Run:
    """A function that runs a command in a folder and returns what it printed; it must succeed unless told otherwise."""

    def run(*words: str, status: int | None = 0) -> "subprocess.CompletedProcess[str]":
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "COLUMNS": "200", "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if status is not None:
            assert done.returncode == status, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done

    return run


def git(run: Run) -> None:
    """Make the folder a git repository with one commit."""
    run("git", "init", "-q")
    run("git", "add", ".")
    run("git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "start")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline's folder after one quick run; tests must leave it as it was."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    copy_project(folder)
    change(folder, **QUICK)
    run = command(folder)
    git(run)
    run("dvc", "repro", "-q")
    return folder


@pytest.fixture
def project(tmp_path: Path, finished: Path) -> Path:
    """A copy of the finished project, to be changed at will."""
    folder = tmp_path / "project"
    shutil.copytree(finished, folder, symlinks=True)
    return folder
