"""pretrain with a teacher: killed and resumed, it ends with the same bytes; another teacher makes another run."""

import signal
from pathlib import Path

import pytest

from benchmarks.project import change
from ssl_pipeline.artifacts.card import read_card
from ssl_pipeline.artifacts.files import load_task
from ssl_pipeline.loading import load_registry
from ssl_pipeline.products import sha256
from ssl_pipeline.training.run import Run
from tests.factories import model_card
from tests.stages.small_pretraining import SMALL, in_process, leave_out_graphs, prepare, products
from tests.teacher_graph import STATED, write_teacher


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = prepare(tmp_path / "project")
    leave_out_graphs(monkeypatch)
    teacher = {"weights": write_teacher(str(folder / "theirs.onnx")), **STATED}
    task = {"teacher": teacher | {"weights": "theirs.onnx"}, "view": "global"}
    change(folder, pretrain=SMALL | {"recipe": "distill_relations", "pretext_task": task, "epochs": 3})
    return folder


def stopped_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patch the run so that Ctrl-C comes after some steps."""
    real, done = Run.step, []

    def step(self: Run, *args: object, **options: object) -> object:
        done.append(1)
        if len(done) == steps:
            signal.raise_signal(signal.SIGINT)
        return real(self, *args, **options)

    monkeypatch.setattr(Run, "step", step)


def test_a_run_goes_on_with_the_same_bits_and_another_teacher_is_another_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    assert in_process(project, monkeypatch)[0] == 0
    undisturbed = products(project)
    card = read_card(project / "models" / "pretrain")
    assert card.teacher_sha256 == sha256(project / "theirs.onnx")
    assert card.recipe.pretext_task.options["teacher_dim"] == 48

    with monkeypatch.context() as patch:
        stopped_after(5, patch)
        assert in_process(project, patch)[0] == 130
    status, said = in_process(project, monkeypatch)
    assert (status, products(project)) == (0, undisturbed)
    assert "resuming from a checkpoint after step 5 of 9" in said

    with monkeypatch.context() as patch:
        stopped_after(5, patch)
        in_process(project, patch)
    write_teacher(str(project / "theirs.onnx"), scale=-2.0)
    status, said = in_process(project, monkeypatch)
    assert status == 0
    assert "from runs with different parameters, data or code" in said
    assert products(project) != undisturbed

    (project / "theirs.onnx").unlink()  # once trained, the student needs no teacher
    assert load_task(load_registry(), project / "models" / "pretrain").teaching.dim == 48
    status, said = in_process(project, monkeypatch)
    assert status == 2
    assert "pretrain.pretext_task.teacher, 'theirs.onnx': there is no such file" in said


def test_cards_of_other_runs_say_nothing_of_teachers():
    assert "teacher_sha256" not in model_card().model_dump(mode="json")
