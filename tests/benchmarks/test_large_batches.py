"""Which runs benchmarks.large_batches makes, and what its page says about invented runs."""

import pytest

from benchmarks.large_batches import STUDIES, runs
from benchmarks.large_batches_page import BASELINE, LOSSES, ONE_PASS, budgets, memory, table, write_page


def row(loss, batch, steps, knn=0.4, mib=900, data="cifar10"):
    found = {"data": data, "loss": loss, "batch": batch, "steps": steps, "seed": 0, "seconds": 1.0, "MiB": mib}
    judged = {"interval": [knn - 0.02, knn + 0.02], "verdict": "balanced", "k_star": 10, "homogeneity": 0.2}
    return found | {"knn": knn} | judged


SEEN = {"cifar10": 1024}
ROWS = [
    row(BASELINE, 256, 0, knn=0.3),
    *(row(loss, batch, 1024 // batch) for loss in LOSSES for batch in (128, 256, 512)),
    *(row(loss, batch, 4, knn=0.5) for loss in LOSSES for batch in (128, 512)),
    row(ONE_PASS, 128, 1, mib=1000),
    row(ONE_PASS, 256, 1, mib=1500),
]


@pytest.mark.parametrize("data", STUDIES)
def test_each_loss_runs_with_each_batch_at_equal_images_and_at_equal_steps(data):
    images, batches, middle, epochs = STUDIES[data]
    every = list(runs(data, seed=0))
    assert len(every) == len(set(every))
    for loss in LOSSES:
        own = {(run.batch, run.steps) for run in every if run.loss == loss}
        assert {batch for batch, steps in own if batch * steps == images * epochs} == set(batches)
        assert {batch for batch, steps in own if steps == images * epochs // middle} == set(batches)


@pytest.mark.parametrize("data", STUDIES)
def test_whole_epochs_of_whole_batches_see_as_many_images_as_are_asked_for(data):
    for run in runs(data, seed=0):
        pool = min(max(run.batch, run.batch * run.steps), STUDIES[data].images)
        assert pool % run.batch == 0
        assert run.batch * run.steps % pool == 0


def test_a_run_at_both_is_in_both_tables():
    found = budgets(ROWS, "cifar10", 1024)
    assert [(one["batch"], one["steps"]) for one in found["images"][::3]] == [(128, 8), (256, 4), (512, 2)]
    assert [(one["batch"], one["steps"]) for one in found["steps"][::3]] == [(128, 4), (256, 4), (512, 4)]


def test_a_table_begins_with_the_untrained_encoder_and_goes_by_losses():
    lines = table(budgets(ROWS, "cifar10", 1024)["images"], ROWS[:1]).splitlines()[2:]
    assert lines[0].startswith("| untrained |  |  |  | 30.0% (28.0% to 32.0%) | balanced | 10 | 0.20 |")
    assert lines[1].startswith("| `info_nce` | 128 | 8 | 1,024 | 40.0% (38.0% to 42.0%) |")
    assert [line.split("`")[1] for line in lines[1:]] == [loss for loss in LOSSES for _ in range(3)]


def test_memory_in_one_pass_stands_beside_that_of_micro_batches():
    lines = memory(ROWS).splitlines()[2:]
    assert lines == [
        "| 128 | 1,000 | 900 to 900 |",
        "| 256 | 1,500 | 900 to 900 |",
        "| 512 | not run | 900 to 900 |",
    ]


def test_tables_go_between_their_marks_and_the_text_stays(tmp_path):
    page = tmp_path / "page.md"
    write_page(page, ROWS, SEEN)
    page.write_text("# Ours\n\n" + page.read_text(encoding="utf-8"), encoding="utf-8")
    write_page(page, ROWS[:-1], SEEN)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Ours\n\n<!-- cifar10 images -->\n| loss |")
    assert "| 256 | not run |" in text
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
    page.write_text("# Ours\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="add the marks <!-- cifar10 images -->"):
        write_page(page, ROWS, SEEN)
