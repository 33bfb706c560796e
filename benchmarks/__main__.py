"""Run the benchmarks of docs/benchmarks.md: `make bench` and `make bench-long` call `python -m benchmarks run`."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.interleaved import machine
from benchmarks.project import ROOT, commit, environment
from benchmarks.report import Benchmark, Row, read_rows, replace_row, write_page
from benchmarks.table import BENCHMARKS, SHORT_MINUTES

ROWS, PAGE = ROOT / "docs" / "benchmarks.jsonl", ROOT / "docs" / "benchmarks.md"
LENIENCY = 2
"""A benchmark is stopped when it takes this many times as long as on an idle machine."""


@click.group()
def main() -> None:
    """Run the benchmarks and write docs/benchmarks.md."""


@main.command(name="list")
def list_them() -> None:
    """List the benchmarks, their durations in minutes on two idle cores, and their commands."""
    for each in BENCHMARKS:
        click.echo(
            f"{each.name:22} {each.minutes:5g} min  {'long  ' if each.long else '      '}{each.command(with_data=True)}"
        )


@main.command()
def page() -> None:
    """Rewrite the page from the stored rows, for example after you have edited the table."""
    write(ROWS, PAGE)


@main.command()
@click.argument("names", nargs=-1)
@click.option("--long", is_flag=True, help="Run those of `make bench-long` if no NAMES are given.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder that contains cifar10/ and clothing/.")
def run(names: tuple[str, ...], long: bool, data: Path | None) -> None:
    """Run the benchmarks NAMES, or all of one part, and replace their stored rows."""
    known = {each.name: each for each in BENCHMARKS}
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"unknown benchmark: {', '.join(unknown)}. Choose from: {', '.join(known)}.")
    chosen = [known[name] for name in names] or [each for each in BENCHMARKS if each.long == long]
    click.echo(f"{len(chosen)} benchmarks, about {sum(each.minutes for each in chosen):g} minutes on two idle cores")
    end = time.monotonic() + 60 * SHORT_MINUTES if not names and not long else math.inf
    failed = []
    for number, each in enumerate(chosen, 1):
        if lacking := lacks(each, data):
            click.echo(f"[{number}/{len(chosen)}] {each.name}: skipped. {lacking}")
            failed += [each.name] if each.name in names else []
            continue
        limit = min(LENIENCY * 60 * each.minutes, end - time.monotonic())
        if limit <= 0:
            click.echo(f"[{number}/{len(chosen)}] {each.name}: skipped, because the {SHORT_MINUTES} minutes are over")
            failed.append(each.name)
            continue
        click.echo(f"[{number}/{len(chosen)}] {each.name}, about {each.minutes:g} minutes")
        row = measure(each, data, limit)
        if not replace_row(ROWS, row):
            click.echo(f"{each.name}: did not finish, so the row of {read_rows(ROWS)[each.name]['date']} stays")
        if "ended" in row:
            click.echo(f"{each.name}: {row['ended']}")
            failed.append(each.name)
        write(ROWS, PAGE)
    if failed:
        sys.exit(f"not measured or not finished: {', '.join(failed)}")


def lacks(benchmark: Benchmark, data: Path | None) -> str:
    """Return how to provide the images of a benchmark if they are missing; "" if they exist or it needs none."""
    if not benchmark.data or (data is not None and (data / benchmark.data).exists()):
        return ""
    found = f"{data / benchmark.data} does not exist" if data is not None else "no folder was given"
    return (
        f"It needs images that are not bundled, and {found}. Pass DATA=FOLDER (or --data FOLDER); the folder must "
        f"contain {benchmark.data}, as benchmarks/real_images.py describes."
    )


def measure(benchmark: Benchmark, data: Path | None, limit: float) -> Row:
    """Run a benchmark, echo its output, and return its row; stop it after `limit` seconds."""
    words = [sys.executable, "-m", *benchmark.arguments(None if data is None else str(data.resolve()))]
    surroundings = environment() | {"OMP_NUM_THREADS": str(benchmark.threads)}
    date, began, lines = time.strftime("%Y-%m-%d"), time.monotonic(), []
    process = subprocess.Popen(
        words, cwd=ROOT, env=surroundings, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    late = threading.Event()

    def end() -> None:
        late.set()
        kill(process)

    timer = threading.Timer(limit, end)
    timer.start()
    try:
        assert process.stdout is not None
        for text in process.stdout:
            click.echo(f"  {text.rstrip()}")
            lines += parsed(text)
        status = process.wait()
        process.stdout.close()
    finally:
        timer.cancel()
        kill(process)
    row = {
        "benchmark": benchmark.name,
        "command": benchmark.command(with_data=data is not None),
        "date": date,
        "commit": commit(),
        "machine": machine(),
        "seconds": round(time.monotonic() - began, 1),
        "lines": lines,
    }
    if late.is_set():
        return row | {"ended": f"it was stopped after {limit / 60:.1f} minutes"}
    return row | ({"ended": f"it exited with status {status}"} if status else {})


def parsed(text: str) -> list[Row]:
    """Return the JSON object in a line as a list of one, or an empty list if the line is not a JSON object."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return []
    return [found] if isinstance(found, dict) else []


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and its children, if it is still running."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def write(rows: Path, path: Path, benchmarks: Sequence[Benchmark] = BENCHMARKS) -> None:
    met, judged = write_page(path, benchmarks, read_rows(rows))
    click.echo(f"{path.relative_to(ROOT)}: {met} of {judged} goals are met")


if __name__ == "__main__":
    main()
