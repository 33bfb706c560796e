"""The benchmarks of docs/benchmarks.md: `python -m benchmarks run`, which `make bench` and `make bench-long` call."""

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
"""A benchmark is ended after so many times what it takes on an idle machine."""


@click.group()
def main() -> None:
    """Measure ratios, and write docs/benchmarks.md."""


@main.command(name="list")
def list_them() -> None:
    """List the benchmarks with the minutes that each takes on two idle cores."""
    for each in BENCHMARKS:
        click.echo(
            f"{each.name:22} {each.minutes:5g} min  {'long  ' if each.long else '      '}{each.command(with_data=True)}"
        )


@main.command()
def page() -> None:
    """Write the page anew from the rows, as after an edit of the table."""
    write(ROWS, PAGE)


@main.command()
@click.argument("names", nargs=-1)
@click.option("--long", is_flag=True, help="Those of `make bench-long`, where no NAMES are given.")
@click.option("--data", type=click.Path(path_type=Path), help="The folder that has cifar10/ and clothing/.")
def run(names: tuple[str, ...], long: bool, data: Path | None) -> None:
    """Run the benchmarks NAMES, or all of one part, and put their rows in place of the old ones."""
    known = {each.name: each for each in BENCHMARKS}
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"there is no benchmark {', '.join(unknown)}. There are: {', '.join(known)}.")
    chosen = [known[name] for name in names] or [each for each in BENCHMARKS if each.long == long]
    click.echo(f"{len(chosen)} benchmarks, about {sum(each.minutes for each in chosen):g} minutes on two idle cores")
    end = time.monotonic() + 60 * SHORT_MINUTES if not names and not long else math.inf
    failed = []
    for number, each in enumerate(chosen, 1):
        if lacking := lacks(each, data):
            click.echo(f"[{number}/{len(chosen)}] {each.name}: left out. {lacking}")
            failed += [each.name] if each.name in names else []
            continue
        limit = min(LENIENCY * 60 * each.minutes, end - time.monotonic())
        if limit <= 0:
            click.echo(f"[{number}/{len(chosen)}] {each.name}: left out, as {SHORT_MINUTES} minutes are over")
            failed.append(each.name)
            continue
        click.echo(f"[{number}/{len(chosen)}] {each.name}, about {each.minutes:g} minutes")
        row = measure(each, data, limit)
        if not replace_row(ROWS, row):
            click.echo(f"{each.name}: the row of {read_rows(ROWS)[each.name]['date']} is kept")
        if "ended" in row:
            click.echo(f"{each.name}: {row['ended']}")
            failed.append(each.name)
        write(ROWS, PAGE)
    if failed:
        sys.exit(f"not measured, or not to the end: {', '.join(failed)}")


def lacks(benchmark: Benchmark, data: Path | None) -> str:
    """Say what to give where the images of a benchmark are not there; "" if they are, or it needs none."""
    if not benchmark.data or (data is not None and (data / benchmark.data).exists()):
        return ""
    found = f"there is no {data / benchmark.data}" if data is not None else "no folder was named"
    return (
        f"It needs images of ours, and {found}: give DATA=FOLDER (or --data FOLDER), in which {benchmark.data} lies "
        "as benchmarks/real_images.py says."
    )


def measure(benchmark: Benchmark, data: Path | None, limit: float) -> Row:
    """Run a benchmark, show what it prints, and return its row; it is ended after so many seconds."""
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
        return row | {"ended": f"it was ended after {limit / 60:.1f} minutes"}
    return row | ({"ended": f"it ended with status {status}"} if status else {})


def parsed(text: str) -> list[Row]:
    """The JSON object of a line, if it is one."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return []
    return [found] if isinstance(found, dict) else []


def kill(process: subprocess.Popen[str]) -> None:
    """End a process and all that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def write(rows: Path, path: Path, benchmarks: Sequence[Benchmark] = BENCHMARKS) -> None:
    met, judged = write_page(path, benchmarks, read_rows(rows))
    click.echo(f"{path.relative_to(ROOT)}: {met} of {judged} goals are met")


if __name__ == "__main__":
    main()
