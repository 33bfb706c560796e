"""Models and projects shared by several test files; each is made once and copied for each test."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.project import environment
from ssl_pipeline.evaluation.linear import study
from tests.stages.small_pretraining import NO_GRAPH
from tests.stages.small_project import QUICK_CLUSTERS, evaluate, write_models, write_project

Models = Callable[..., Path]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Return a function of the layer that ships; it returns a folder with `models/pretrain` and `models/export`."""
    made: dict[int | None, Path] = {}

    def of(layer: int | None = None) -> Path:
        if layer not in made:
            made[layer] = tmp_path_factory.mktemp("models")
            write_models(made[layer], layer)
        return made[layer]

    return of


@pytest.fixture
def project(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project before linear_eval; the test runs in its folder."""
    shutil.copytree(models(), tmp_path, dirs_exist_ok=True)
    write_project(tmp_path, clusters=QUICK_CLUSTERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "RANDOM_DRAWS", 2)
    return tmp_path


@pytest.fixture(scope="session")
def judged(models: Models, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The project after linear_eval and the output of the stage; no test may change it."""
    folder = tmp_path_factory.mktemp("judged")
    shutil.copytree(models(), folder, dirs_exist_ok=True)
    write_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(study, "RANDOM_DRAWS", 2)
        return folder, evaluate().output


@pytest.fixture
def once_more(judged: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project after linear_eval; the test runs in its folder."""
    shutil.copytree(judged[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "RANDOM_DRAWS", 2)
    return tmp_path


@pytest.fixture(scope="session")
def run() -> Iterator[Callable[..., str]]:
    """Return a function that runs pretrain in its own process, under a patch that may kill it, and returns output."""
    forking = [sys.executable, Path(__file__).with_name("forking.py")]
    with subprocess.Popen(
        forking, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def go(folder: Path, patch: str = NO_GRAPH, status: int = 0) -> str:
            said = folder.with_name("said.txt")
            assert process.stdin
            assert process.stdout
            print(json.dumps([str(folder), patch, str(said)]), file=process.stdin, flush=True)
            assert int(process.stdout.readline()) == status, said.read_text()
            return said.read_text()

        yield go
