"""How rows become docs/benchmarks.md, and what `python -m benchmarks run` keeps of a run."""

import importlib
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmarks import __main__ as runner
from benchmarks.report import Benchmark, Figure, read_rows, replace_row, write_page
from benchmarks.table import BENCHMARKS, SHORT_MINUTES

SLOW = Benchmark(
    "slow",
    ("benchmarks.slow", "--side", "32"),
    "Ours to theirs.",
    2,
    (
        Figure("to theirs", {"side": 32, "of": "theirs"}, goal=("≥", 2.0), missed="theirs does less."),
        Figure("memory", {"side": 32, "of": "memory"}, "held.ours", ("≤", 0.8), missed="a copy is kept."),
        Figure("to a library", {"of": "library"}, goal=("≥", 1.0)),
    ),
)
MACHINE = {"processor": "Some", "simd": "AVX2", "cores": 2, "torch": "2"}


def row(*lines, name="slow", **more):
    of = {"benchmark": name, "command": "python -m benchmarks.slow", "date": "2026-01-02", "commit": "abc"}
    return of | {"machine": MACHINE, "seconds": 90.0, "lines": list(lines)} | more


def cells(page: Path) -> dict[str, list[str]]:
    """Return the other cells of each line by its first cell."""
    lines = [line[1:-1].split("|") for line in page.read_text().splitlines() if line.startswith("|")]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in lines}


@pytest.fixture
def written(tmp_path):
    def write(*lines, **more):
        met = write_page(tmp_path / "page.md", [SLOW], {"slow": row(*lines, **more)})
        return met, cells(tmp_path / "page.md"), (tmp_path / "page.md").read_text()

    return write


def test_a_figure_stands_beside_its_goal_and_a_missed_one_has_its_reason(written):
    theirs = {"side": 32, "of": "theirs", "median": 1.5, "quartiles": [1.25, 1.75]}
    memory = {"side": 32, "of": "memory", "held": {"ours": 0.5}}
    other = {"side": 96, "of": "theirs", "median": 9.0}
    met, found, page = written({"machine": MACHINE}, other, theirs, memory)
    assert found["to theirs"] == ["1.5", "1.25 to 1.75", "≥ 2", "**missed**"]
    assert found["memory"] == ["0.5", "", "≤ 0.8", "met"]
    assert "- to theirs: theirs does less." in page
    assert "a copy is kept." not in page
    assert met == (1, 3)
    assert "2026-01-02, commit abc, 1.5 minutes, on Some (AVX2), 2 cores, torch 2" in page


def test_what_was_not_measured_is_said_and_is_no_goal_met(written):
    met, found, page = written({"of": "library", "skipped": "kornia is not installed"}, ended="it was ended")
    assert found["to a library"][0] == "kornia is not installed"
    assert found["to theirs"] == ["not measured", "", "≥ 2", ""]
    assert met == (0, 3)
    assert "It did not finish: it was ended." in page


def test_a_benchmark_without_a_run_is_named_with_its_command(tmp_path):
    assert write_page(tmp_path / "page.md", [SLOW], {}) == (0, 0)
    assert "`OMP_NUM_THREADS=1 python -m benchmarks.slow --side 32`" in (tmp_path / "page.md").read_text()


def test_a_run_takes_the_place_of_the_one_before_but_a_broken_one_of_a_whole_one(tmp_path):
    path = tmp_path / "rows.jsonl"
    first, other, second = row({"of": "a"}), row({"of": "b"}, name="other"), row({"of": "c"})
    assert all(replace_row(path, each) for each in (row(ended="early"), first, other, second))
    assert read_rows(path) == {"slow": second, "other": other}
    assert not replace_row(path, row(ended="late"))
    assert read_rows(path)["slow"] == second


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs Python code as a benchmark with options, and returns the result and the rows."""

    def go(code: str, *options: str, minutes: float = 1.0, data: str = ""):
        (tmp_path / "as_benchmark.py").write_text(code)
        each = Benchmark("one", ("as_benchmark",), "One.", minutes, (Figure("it", {"of": "it"}),), data=data)
        monkeypatch.setattr(runner, "BENCHMARKS", (each,))
        monkeypatch.setattr(runner, "commit", lambda: "abc")
        for name in ("ROOT", "ROWS", "PAGE"):
            monkeypatch.setattr(runner, name, tmp_path / {"ROOT": "", "ROWS": "rows.jsonl", "PAGE": "page.md"}[name])
        done = CliRunner().invoke(runner.main, ["run", *options])
        return done, read_rows(tmp_path / "rows.jsonl")

    return go


def test_lines_of_json_are_kept_and_others_are_shown(run):
    done, rows = run("print('a word'); print('3'); print('{\"of\": \"it\", \"median\": 2.0}')")
    assert done.exit_code == 0, done.output
    assert rows["one"]["lines"] == [{"of": "it", "median": 2.0}]
    assert "a word" in done.output
    assert rows["one"]["command"] == "OMP_NUM_THREADS=1 python -m as_benchmark"


def test_a_benchmark_that_fails_or_takes_too_long_is_told_and_keeps_its_lines(run):
    line = 'print(\'{"of": "it"}\', flush=True)'
    done, rows = run(f"{line}; raise SystemExit(3)")
    assert (done.exit_code, rows["one"]["ended"]) == (1, "it exited with status 3")
    assert "not finished: one" in done.output
    done, rows = run(f"{line}; import time; time.sleep(60)", minutes=0.5 / 60)
    assert (done.exit_code, rows["one"]["lines"]) == (1, [{"of": "it"}])
    assert rows["one"]["ended"].startswith("it was stopped after")


def test_a_benchmark_whose_images_are_not_there_says_which_folder_to_name(run, tmp_path):
    print_arguments = "import json, sys; print(json.dumps({'of': sys.argv[1:]}))"
    for names, status in ((["one"], 1), ([], 0)):  # a run of all benchmarks skips it without an error
        done, rows = run(print_arguments, *names, data="clothing")
        assert (done.exit_code, rows) == (status, {})
        assert "Pass DATA=FOLDER" in done.output
    (tmp_path / "clothing").mkdir()
    done, rows = run(print_arguments, "--data", str(tmp_path), data="clothing")
    assert rows["one"]["lines"] == [{"of": [str(tmp_path / "clothing")]}]
    assert rows["one"]["command"].endswith("as_benchmark $DATA/clothing")  # no path of this machine is stored


def test_an_unknown_name_is_refused_with_those_that_there_are(run):
    done, _ = run("", "two")
    assert done.exit_code == 2
    assert "unknown benchmark: two. Choose from: one." in done.output


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda each: each.name)
def test_the_table_names_modules_and_options_that_there_are(benchmark, tmp_path):
    for part in filter(None, (benchmark.data, benchmark.archive)):
        _file(tmp_path / part) if Path(part).suffix else (tmp_path / part).mkdir(parents=True, exist_ok=True)
    name, *words = benchmark.arguments(str(tmp_path))
    command = importlib.import_module(name).main
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_context(name, words)  # raises the error that a user would see


def _file(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()


def test_the_table_has_names_and_figures_of_their_own_and_the_short_part_fits_into_its_time():
    assert len({each.name for each in BENCHMARKS}) == len(BENCHMARKS)
    for each in BENCHMARKS:
        assert len({figure.what for figure in each.figures}) == len(each.figures), each.name
    assert sum(each.minutes for each in BENCHMARKS if not each.long) <= SHORT_MINUTES


def test_rows_of_the_page_are_of_benchmarks_that_there_are():
    assert read_rows(runner.ROWS).keys() <= {each.name for each in BENCHMARKS}
    assert json.dumps(list(read_rows(runner.ROWS).values())).count("/tmp/") == 0
