"""A copy of the project in which the whole pipeline has run once, on a folder of images and for few epochs."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.project import change, copy_project, environment

CROP = {"random_resized_crop": {"p": 1.0, "scale": [0.5, 1.0], "ratio": [0.75, 1.333]}}
JITTER = {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.0, "hue": 0.0}
IMAGES = 300
QUICK = {
    "ingest": {"source": {"name": "folder", "path": "images"}},
    "augment": {"views": {"global": {"size": 16, **CROP, "color_jitter": JITTER}, "plain": {"size": 16, **CROP}}},
    "pretrain": {"epochs": 3, "collapse": {"min_embedding_std": 0.0, "min_effective_rank": 0.0}},
    "export": {"variants": ["fp32"]},
    "linear_eval": {
        "strengths": [0.01, 1.0],
        "bootstrap": 100,
        "clusters": {"images": IMAGES // 2, "runs": 2, "view": "plain"},
    },
    "finetune": {"budgets": [1, 5], "draws": 2, "steps": 8, "learning_rates": [1e-3], "epochs": 1},
}

# dvc commits experiments, and the machine may have no git identity
IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "Tester"), ("EMAIL", "tester@example.com"))
}

NETWORK_LOG = "network.log"
"""Name of a file beside the finished project: the Python processes of its run, and attempts to reach a network."""

WATCH = Path(__file__).parent / "watch"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def command(folder: Path, **variables: str) -> Run:
    """Return a function that runs a command in a folder and checks its exit status, 0 by default; None accepts any."""

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


def write_digits(folder: Path, number: int) -> None:
    """Write real digits as images in class folders, one of which is a symbolic link to a folder elsewhere."""
    data = load_digits()
    for index, (pixels, label) in enumerate(zip(data.images[:number], data.target, strict=False)):
        path = folder / "images" / str(label) / f"{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).save(path)
    elsewhere = folder.parent / "elsewhere"
    (folder / "images" / "7").rename(elsewhere)
    (folder / "images" / "7").symlink_to("../../elsewhere")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after one quick run, shared by all processes of a test session; no test may change it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    with FileLock(f"{shared}.lock"):
        if not (shared / "done").is_file():
            shutil.rmtree(shared, ignore_errors=True)  # the remains of a process that failed
            run_once(shared / "project")
            (shared / "done").touch()
    return shared / "project"


def run_once(folder: Path) -> None:
    """Run the pipeline in a new folder and log what its processes do."""
    copy_project(folder)
    change(folder, **QUICK)
    write_digits(folder, IMAGES)
    git(command(folder))
    command(folder, **watched(folder.parent / NETWORK_LOG))("dvc", "repro", "-q")


def watched(log: Path, *places: Path) -> dict[str, str]:
    """Return environment variables that make Python processes log what they do, and import from additional folders."""
    known = filter(None, [os.environ.get("PYTHONPATH")])
    return {"PYTHONPATH": os.pathsep.join([str(WATCH), *map(str, places), *known]), "NETWORK_LOG": str(log)}


@pytest.fixture
def project(tmp_path: Path, finished: Path) -> Path:
    """A copy of the finished project, which the test may change."""
    return copy_of(finished, tmp_path)


def copy_of(project: Path, place: Path) -> Path:
    """Copy a project and the target of its link to a place; return the copy."""
    shutil.copytree(project.parent / "elsewhere", place / "elsewhere")
    return shutil.copytree(project, place / "project", symlinks=True)
