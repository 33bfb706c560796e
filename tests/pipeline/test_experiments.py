"""All commands of the README and the tested pages run, including experiments with other recipes and with a plugin."""

import csv
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from click.testing import CliRunner

from benchmarks.project import change
from ssl_pipeline_stages.main import main
from tests.pipeline.conftest import IMAGES, NETWORK_LOG, command, copy_of, watched
from tests.pipeline.pages import DOCS, RUN_HERE, blocks, commands
from tests.pipeline.test_dvc import changed, ran
from tests.pipeline.test_readme import BEGINS, IN_CI, INSTALLS, OPENS, README

LINES = commands(RUN_HERE)
SKIPPED = [line for line in LINES if line.startswith((*IN_CI, *INSTALLS, *BEGINS, *OPENS))]
RUN = [line for line in LINES if line not in SKIPPED]
EXPERIMENT = "dvc exp run -S pretrain.epochs=5"
QUEUED = [line for line in RUN if line.startswith("dvc exp run --queue")]


class Experiment(NamedTuple):
    """The finished project after the first experiment of docs/dvc.md, with further settings changed.

    Attributes:
        project: Folder of the project; no test may change it.
        site: Folder in which README's plugin is installed.
        said: Output of the experiment.
        log: Log of what its processes did.
    """

    project: Path
    site: Path
    said: str
    log: Path


@pytest.fixture(scope="module")
def experiment(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    place = tmp_path_factory.mktemp("experiment")
    project, site, log = copy_of(finished, place), place / "site", place / NETWORK_LOG
    install_plugin(site)
    run = command(project)
    run("git", "add", ".")
    run("git", "commit", "-qm", "ran")
    for line in RUN[: RUN.index(EXPERIMENT)]:
        run(*shlex.split(line))
    views = yaml.safe_load((project / "params.yaml").read_text())["augment"]["views"]
    noise = {"gaussian_noise": {"p": 0.5, "std": 0.1}}
    change(project, augment={"views": {kind: {**view, **noise} for kind, view in views.items()}})
    change(project, pretrain={"recipe": "triplet", "loss": {"name": "margin", "margin": 0.3}})
    assert "ingest" not in changed(project)
    shorter = EXPERIMENT.replace("5", "2")
    said = command(project, **watched(log, site))(*shlex.split(shorter), "pretrain").stdout
    return Experiment(project, site, said, log)


def install_plugin(site: Path) -> None:
    """Install the loss of the README as if from a distribution."""
    code = next(block for block in blocks(README, "python") if "hookimpl" in block)
    info = site / "my_losses-0.1.dist-info"
    info.mkdir(parents=True)
    (site / "my_losses.py").write_text(code)
    (toml,) = blocks(DOCS / "plugins.md", "toml")
    assert 'my_losses = "my_losses"' in toml
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-losses\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[ssl_pipeline]\nmy_losses = my_losses\n")


def opened(log: Path) -> list[str]:
    """Return the images that a run opened, one entry for each time."""
    lines = log.read_text().splitlines()
    paths = [line.removeprefix("opened ") for line in lines if line.startswith("opened ")]
    return [path for path in paths if "images" in Path(path).parts]


def test_a_change_of_recipe_or_views_opens_no_image(experiment: Experiment, finished: Path):
    first = opened(finished.parent / NETWORK_LOG)
    assert len(set(first)) == IMAGES  # the log does record opened images; the inventory opens each of them too
    assert ran(experiment.said) == ["inventory", "augment", "pretrain"]
    assert "ssl-pipeline augment" in experiment.log.read_text()
    assert opened(experiment.log) == []


def test_the_plugin_trains(experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = copy_of(experiment.project, tmp_path)
    model, codes = (
        project / "models/pretrain/model.json",
        [project / f"data/code/{name}.json" for name in ("pretrain", "export")],
    )
    assert '"my-losses": "0.1"' in model.read_text()
    before = [path.read_bytes() for path in codes]
    assert "pretrain" not in changed(project)
    install_plugin(tmp_path / "site")
    with (tmp_path / "site" / "my_losses.py").open("a") as file:
        file.write("# an upgrade\n")
    run = command(project, **watched(tmp_path / NETWORK_LOG, tmp_path / "site"))
    assert "(my-losses 0.1)" in run("dvc", "repro", "inventory").stderr
    assert [path for path, old in zip(codes, before, strict=True) if path.read_bytes() == old] == []
    assert "pretrain" in changed(project)
    gone = "came with my-losses 0.1: pip install it again"
    assert gone in command(project)("dvc", "repro", status=255).stderr
    monkeypatch.chdir(project)
    alone = CliRunner().invoke(main, ["pretrain"])
    assert alone.exit_code == 2
    assert gone in alone.stderr
    assert model.is_file()  # dvc would have removed the products of a stage that it runs


def test_every_command_runs(experiment: Experiment, finished: Path, tmp_path: Path):
    assert all(any(line.startswith(begin) for line in SKIPPED) for begin in (*IN_CI, *INSTALLS, *BEGINS, *OPENS))
    project = copy_of(experiment.project, tmp_path)
    shutil.copy(finished / "params.yaml", project)
    run = command(project, **watched(tmp_path / NETWORK_LOG, experiment.site))
    printed = {}
    for line in RUN[RUN.index(EXPERIMENT) + 1 :]:
        printed[line] = run(*shlex.split(line)).stdout
        if line == QUEUED[-1]:
            waiting = {told(row): row["Experiment"] for row in experiments(project) if row["State"] == "Queued"}
            assert set(waiting) == {("triplet", ""), ("mocov2", ""), ("simclr", "0.1"), ("simclr", "0.5")}
            run("dvc", "queue", "remove", *(name for chosen, name in waiting.items() if chosen != ("simclr", "0.1")))
    assert "my-losses 0.1" in printed["ssl-pipeline plugins"]
    rows = list(experiments(project))
    assert any(row["Experiment"] and row["pretrain.epochs"] == "2" for row in rows)
    (found,) = [row for row in rows if told(row) == ("simclr", "0.1") and row["Experiment"]]
    assert found["State"] == "Success"
    (before,) = [row for row in rows if row["rev"] == "workspace"]
    assert all(row["accuracy"] and row["knn"] for row in (found, before))
    differing = [name for name in ("accuracy", "knn") if found[name] != before[name]]
    assert differing  # with few test images, the two encoders may agree in one of the figures
    (show,) = [line for line in RUN if line.startswith("dvc exp show")]
    table = command(project, COLUMNS="160")(*shlex.split(show)).stdout
    assert "…" not in table
    assert all(name in table for name in (*differing, "pretrain.recipe", "pretrain.loss.temperature"))


def experiments(project: Path) -> Iterator[dict[str, str]]:
    """Iterate over the rows of `dvc exp show`."""
    return iter(csv.DictReader(command(project)("dvc", "exp", "show", "--csv").stdout.splitlines()))


def told(row: dict[str, str]) -> tuple[str, str]:
    """Return the recipe and the temperature of an experiment."""
    return row["pretrain.recipe"], row["pretrain.loss.temperature"]
