"""Which runs benchmarks.recipes makes, and which of their rows it keeps; training itself is replaced by a stub."""

import json

import pytest
from click.testing import CliRunner

from benchmarks import recipes
from ssl_pipeline.errors import ConfigError, PipelineError

PAGE = {"effective_rank": 9.0, "few_labels": 0.2, "uniformity": -1.0, "homogeneity": 0.3, "completeness": 0.2}


def result(accuracy: float):
    of = {key: accuracy for key in ("knn", "linear", "layer")}
    low, high = (
        {f"{key}_{end}": value + by for key, value in of.items()} for end, by in (("low", -0.01), ("high", 0.01))
    )
    return {**of, **low, **high, **PAGE, "best_layer": 2, "alignment": 0.1}


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Return a function of options and accuracies by recipe: it runs the command, returns trainings, rows, output."""

    def go(*options, status=0, **accuracies):
        trainings = []

        def trained(project, store, recipe, seed, epochs, on_collapse="stop"):
            trainings.append((recipe, seed, epochs, on_collapse))
            found = accuracies.get(recipe, 0.5)
            if isinstance(found, Exception) and on_collapse == "stop":
                raise found
            return result(0.5 if isinstance(found, Exception) else found)

        monkeypatch.setattr(recipes, "trained", trained)
        words = [str(tmp_path), "--rows", str(tmp_path / "rows.jsonl"), "--page", str(tmp_path / "page.md"), *options]
        done = CliRunner().invoke(recipes.main, words)
        assert done.exit_code == status, done.output
        lines = (tmp_path / "rows.jsonl").read_text().splitlines() if (tmp_path / "rows.jsonl").exists() else []
        return trainings, [json.loads(line) for line in lines], done.output

    monkeypatch.setattr(recipes, "prepare", lambda data, folder, project, settings: None)
    monkeypatch.setattr(recipes, "change", lambda project, **sections: None)
    monkeypatch.setattr(recipes, "stage", lambda project, name: {})
    monkeypatch.setattr(recipes, "random", lambda project, store, seed: result(0.3))
    monkeypatch.setattr(recipes, "commit", lambda: "abc")
    return go


USUAL = ("--data", "cifar10", "--batch-size", "256", "--seeds", "2")


def test_random_encoders_follow_the_recipes_and_nothing_is_run_twice(started):
    words = (*USUAL, "--recipe", "simclr", "--recipe", "mae")
    trainings, rows, _ = started(*words)
    assert [run[:2] for run in trainings] == [("mae", 0), ("simclr", 0), ("mae", 1), ("simclr", 1)]
    names = ("simclr", "random encoder", "mae", "random encoder, mae")
    assert {(row["recipe"], row["seed"]) for row in rows} == {(name, seed) for name in names for seed in (0, 1)}
    assert {(row["data"], row["epochs"], row["batch_size"], row["commit"]) for row in rows} == {
        ("cifar10", 5, 256, "abc")
    }
    assert started(*words)[:2] == ([], rows)


def test_what_is_not_above_the_random_encoder_is_run_with_more_steps(started, tmp_path):
    words = ("--recipe", "simclr", "--recipe", "byol")
    started(*USUAL, *words, byol=0.31)
    (tmp_path / "page.md").unlink()  # it has no mark for the next table
    trainings, rows, _ = started("--data", "cifar10", "--batch-size", "32", *words)
    assert [run[:2] for run in trainings] == [("byol", 0), ("simclr", 0), ("byol", 1), ("byol", 2)]
    assert not [row for row in rows if row["batch_size"] == 32 and row["recipe"].startswith("random")]
    assert "| `byol` | kNN | 31.0% | 0 of 2 | 50.0% |" in (tmp_path / "page.md").read_text()


def test_runs_that_are_refused_or_collapse_are_told_apart(started, tmp_path):
    ended = PipelineError("step 9: complete collapse.\nThe run ends here; .work/1/curves.png shows its curves.")
    words = ("--recipe", "w_mse", "--recipe", "vicreg", "--seeds", "1")
    _, rows, _ = started(*USUAL, *words, w_mse=ConfigError("too few images"), vicreg=ended)
    of = {row["recipe"]: row for row in rows}
    assert of["w_mse"]["refused"] == "too few images"
    assert of["vicreg"]["ended"] == "step 9: complete collapse."
    assert of["random encoder"]["knn"] == 0.3
    assert started(*USUAL, *words)[0] == []


def test_a_random_encoder_does_without_a_recipe_that_ended(started):
    _, rows, _ = started(*USUAL, "--recipe", "mae", "--seeds", "1", mae=PipelineError("step 9: collapse"))
    assert [("ended" in row, row["recipe"]) for row in rows] == [(True, "mae"), (False, "random encoder, mae")]


def test_a_budget_that_there_is_not_is_refused(started):
    assert "no such budget" in started("--data", "clothing", "--batch-size", "32", status=2)[2]
    assert "Invalid value for '--recipe'" in started("--recipe", "simsclr", status=2)[2]


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [(2, ConfigError, "no such recipe"), (1, PipelineError, "step 9: collapse\nChange it.")],
)
def test_a_stage_that_ends_with_a_message_raises_it(tmp_path, status, error, message):
    program = tmp_path / "ssl_pipeline" / "__main__.py"  # found before the installed package
    program.parent.mkdir()
    program.with_name("__init__.py").touch()
    code = f"import sys; print('going on\\nerror: ' + {message!r}, file=sys.stderr); sys.exit({status})"
    program.write_text(code)
    with pytest.raises(PipelineError) as raised:
        recipes.stage(tmp_path, "pretrain")
    assert (type(raised.value), str(raised.value)) == (error, message)
    program.write_text("raise RuntimeError('a bug')")
    with pytest.raises(SystemExit, match="(?s)pretrain failed:.*RuntimeError: a bug"):
        recipes.stage(tmp_path, "pretrain")
    program.write_text("held = b'1' * 200_000_000")
    assert 200 < recipes.stage(tmp_path, "pretrain")["megabytes"] < 400
