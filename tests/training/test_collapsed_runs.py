"""A run that collapses ends, continues if it is allowed to, and is never taken for a finished one."""

import numpy as np
import pytest
import torch

from ssl_pipeline.training import pretraining
from ssl_pipeline.training.endings import CollapsedError
from tests.training.conftest import stopping

BOUNDS = {"min_embedding_std": 0.02, "min_effective_rank": 1.5}


class Collapsing(torch.nn.Module):
    """An encoder that is evaluated in eval mode, in which all images look nearly alike from one training step on."""

    def __init__(self, backbone, start):
        super().__init__()
        self.backbone, self.embedding_dim, self.start = backbone, backbone.embedding_dim, start
        self.register_buffer("step", torch.tensor(0))

    def forward(self, images):
        embeddings = self.backbone(images)
        if self.training:
            self.step += 1
            return embeddings
        near = torch.ones_like(embeddings) + 1e-3 * embeddings
        return near if self.step >= self.start else embeddings


def collapsing(start=0):
    """Return a change of a task that makes its encoder collapse at a step."""

    def change(task):
        task.encoder.backbone = Collapsing(task.encoder.backbone, start)
        return task

    return change


def counting(steps, change):
    """Return a change of a task that also records its steps."""

    def changed(task):
        task, compare = change(task), task.compare
        task.compare = lambda encoded, step: (steps.append(step.number + 1), compare(encoded, step))[1]
        return task

    return changed


def test_collapse_ends_the_run_and_warn_goes_on_from_there(run, configure, tmp_path):
    """The warm-up has three steps, and collapse is fatal from step 8 on; the second row that shows it ends the run."""
    with pytest.raises(
        CollapsedError, match=r"(?s)step 9: complete collapse.*embedding std \S+, bound 0\.02.*pretrain\.batch_size"
    ):
        run(configure(collapse=BOUNDS), change=collapsing())
    assert [path.name for path in tmp_path.glob(".work/*/*.png")] == ["curves.png"]
    with pytest.raises(CollapsedError, match=r"^step 9: complete collapse"):
        run(configure(collapse=BOUNDS), change=collapsing())  # with the same settings
    task, history = run(configure(collapse=BOUNDS, on_collapse="warn"), change=collapsing())
    assert [row["step"] for row in history.rows] == list(range(1, 13))
    assert [(found["step"], found["warning"][:17]) for found in history.warnings] == [(9, "complete collapse")]
    whole, _ = run(configure(collapse=BOUNDS, on_collapse="warn"), name="another", change=collapsing())
    assert all(torch.equal(a, b) for a, b in zip(task.parameters(), whole.parameters(), strict=True))


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("last", [True, False])
def test_a_run_that_collapsed_is_not_one_that_is_done(run, configure, monkeypatch, last):
    """It may collapse in the last row, or before further steps that it was allowed to take."""
    steps, change = [], collapsing(11 if last else 9)
    bounds = {"collapse": BOUNDS, "epochs": 4 if last else 8}
    if not last:
        monkeypatch.setattr(pretraining, "LOGGED_ROWS", 8)  # rows of three steps: step 12 has a row, step 13 does not
        with pytest.raises(KeyboardInterrupt):
            run(
                configure(**bounds, on_collapse="warn"), change=lambda task: stopping(counting(steps, change)(task), 13)
            )
    for _ in range(3):
        with pytest.raises(CollapsedError, match=r"^step 12: complete collapse"):
            run(configure(**bounds), change=counting(steps, change))
    _, history = run(configure(**bounds, on_collapse="warn"), change=counting(steps, change))
    assert steps == list(range(1, 13 if last else 25))  # no step was taken twice
    assert len(history.rows) == (12 if last else 8)
    assert [(found["step"], found["warning"][:17]) for found in history.warnings] == [(12, "complete collapse")]


def test_a_warning_of_collapse_outlives_the_process(run, configure):
    config = configure(collapse=BOUNDS, on_collapse="warn", checkpoint_minutes=0.0)
    steps = []

    def killed(task):
        task, after_step = collapsing()(task), task.after_step

        def after(step, kept):
            if step.number == 10:
                raise RuntimeError("killed")
            after_step(step, kept)

        task.after_step = after
        return task

    with pytest.raises(RuntimeError, match="killed"):
        run(config, change=killed)
    _, history = run(config, change=counting(steps, collapsing()))
    assert steps == [11, 12]  # it resumes from a checkpoint after step 10
    assert len(history.rows) == 12
    assert [found["step"] for found in history.warnings] == [9]


def test_images_all_alike_are_noticed(run, configure, pool, monkeypatch):
    monkeypatch.setattr(type(pool), "images", lambda self, positions: np.full((len(positions), 8, 8, 3), 99, np.uint8))
    with pytest.raises(CollapsedError, match="images that hardly differ"):
        run(configure(epochs=6, collapse=BOUNDS))
