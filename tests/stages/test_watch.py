"""`watch` looks at a pretraining in progress: what it reports, when it reports nothing, and that it only reads."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.project import change, copy_project
from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.card import read_card
from ssl_pipeline.artifacts.files import save_weights
from ssl_pipeline.config import Choice
from ssl_pipeline.data.framing import Framing, write_framing
from ssl_pipeline.guard import only_run
from ssl_pipeline.loading import load_registry
from ssl_pipeline.products import read_json, sha256, write_product
from ssl_pipeline.training.checkpoint import read_state
from ssl_pipeline.training.run import Run
from ssl_pipeline_stages.pretrain import pretrain
from ssl_pipeline_stages.watch import watch
from tests.factories import as_they_are, digits_store
from tests.stages.small_pretraining import leave_out_graphs

STORE = Path("data/ingested/store")
BACKBONE = {"name": "resnet_cifar", "depth": 8, "width": 4}
SIZES = {"train": 64, "val": 40, "test": 8}
VIEW = {"size": 8, "random_resized_crop": {"p": 1.0, "scale": [0.5, 1.0], "ratio": [0.8, 1.25]}}


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the priority of this process unchanged."""
    monkeypatch.setattr("os.nice", lambda _: 0)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the products of ingest and augment, and settings for a pretraining of twelve steps."""
    copy_project(tmp_path)
    small = {"backbone": BACKBONE, "batch_size": 16, "epochs": 3}
    change(tmp_path, pretrain={**small, "checkpoint_minutes": 0.0, "on_collapse": "warn"})
    monkeypatch.chdir(tmp_path)
    digits_store(STORE, SIZES, as_they_are)
    write_framing(STORE, Framing(8, "squash", (0, 0, 0)))
    views = {"global": VIEW, "plain": VIEW, "local": {**VIEW, "size": 4}}
    write_product(tmp_path / "data" / "augmented" / "policy.json", {"seed": 0, "views": views})
    leave_out_graphs(monkeypatch)
    return tmp_path


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that pretrains until a number of steps is done and saved in a checkpoint."""
    real = Run.save_if_due

    def go(steps: int) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Run, "save_if_due", lambda run, done, *rest: real(run, done, rest[0], done == steps))
            assert CliRunner().invoke(pretrain, []).exit_code == 130

    return go


def look(status: int = 0) -> list[str]:
    result = CliRunner().invoke(watch, [], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.output.splitlines()


def files(folder: Path) -> dict[str, str]:
    return {str(path): sha256(path) for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.mark.parametrize("recipe", ["dino", "colorization"])  # the teacher ships; the encoder sees no colours
def test_what_is_judged_is_what_would_ship(project, stop_after, recipe):
    change(project, pretrain={"recipe": recipe})
    stop_after(12)
    before = files(project / ".work")
    with only_run(Path(".work")):  # another stage is running
        unfinished = look()
    assert files(project / ".work") == before
    assert unfinished[0].startswith(f"{recipe}, after 12 steps (.work/")
    assert "40 validation images are classified correctly by their 20 nearest of 64 training images" in unfinished[1]
    assert unfinished[2].startswith("at step 12: loss ")
    assert "view recall" in unfinished[2]
    (work,) = project.glob(".work/*/")
    shutil.copytree(work, work.with_name("of_another_run"))  # older than the model to come
    assert CliRunner().invoke(pretrain, []).exit_code == 0
    finished = look()
    assert finished[0].startswith(f"{recipe}, training finished (models/pretrain/encoder.safetensors")
    assert finished[1:] == unfinished[1:]


def test_where_there_is_no_checkpoint_it_says_when_there_will_be(project):
    (line,) = look(1)
    assert line.startswith("error: nothing to watch: there is no readable checkpoint in .work and no model in models/")
    assert line.endswith("after pretrain.checkpoint_minutes.")


def test_the_newest_that_can_be_read_is_judged_and_labels_are_not_needed(project, stop_after):
    digits_store(STORE, SIZES, lambda _, labels: [""] * len(labels))
    write_framing(STORE, Framing(8, "squash", (0, 0, 0)))
    stop_after(5)
    assert look()[0].startswith("simclr, after 5 steps")
    (newest,) = project.glob(".work/*/checkpoint.pt")
    newest.write_bytes(newest.read_bytes()[:-100])
    lines = look()
    assert lines[0].startswith("simclr, after 4 steps")
    assert lines[1].startswith("no kNN accuracy: it needs training images of two classes")
    assert lines[2].startswith("at step 4: loss ")
    newest.with_name("checkpoint.previous.pt").unlink()
    assert "checkpoint.pt is damaged." in look(1)[0]


def test_figures_are_those_of_the_last_look(project, stop_after):
    change(project, pretrain={"epochs": 6})  # of 24 steps, every second one is evaluated
    stop_after(3)
    lines = look()
    assert "after 3 steps" in lines[0]
    assert lines[-1].startswith("at step 2: loss ")
    assert "view recall" in lines[-1]


def test_what_goes_on_from_weights_is_held_beside_its_start_and_its_best_step(project, stop_after):
    """The store has no labels during pretraining, but has them for the evaluation."""
    network = build_encoder(load_registry(), Choice(**BACKBONE), (0.5,) * 3, (0.25,) * 3, seed=5, size=8)
    save_weights(project / "start.safetensors", network.state_dict())
    change(project, pretrain={"init": "start.safetensors", "ship": "best"})
    digits_store(STORE, SIZES, lambda _, labels: [""] * len(labels))
    write_framing(STORE, Framing(8, "squash", (0, 0, 0)))
    stop_after(11)
    digits_store(STORE, SIZES, as_they_are)
    write_framing(STORE, Framing(8, "squash", (0, 0, 0)))
    state = read_state(*project.glob(".work/*/checkpoint.pt"))
    best = state["held_out"]["best"]["step"]
    lines = look()
    assert re.fullmatch(
        r"compared with the starting weights \([\d.]+%\): [+-][\d.]+ \[[+-][\d.]+, [+-][\d.]+\] points, "
        "(better|WORSE|no clear difference)",
        lines[2],
    )
    others = [line for line in lines if line.startswith(f"compared with step {best}, the best on held-out images")]
    assert len(others) == (0 < best < 11)
    assert lines[-1].startswith("at step 9, on held-out images: held out recall ")

    assert CliRunner().invoke(pretrain, []).exit_code == 0
    shipped = read_json(project / "reports" / "pretrain" / "details.json", "pretrain")["shipped_step"]
    assert shipped == read_card(project / "models" / "pretrain").shipped_step
    finished = look()
    assert f"training finished; step {shipped} ships" in finished[0]
    assert finished[2].startswith("compared with the starting weights")
