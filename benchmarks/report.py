"""Write docs/benchmarks.md, which compares measurements with goals, from the lines that benchmarks printed.

The lines are stored in docs/benchmarks.jsonl, in one row for the last run of each benchmark, so each benchmark can be
repeated alone. `benchmarks.table` states what is compared, and the goals.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ssl_pipeline.products import atomic_file

__all__ = ["Benchmark", "Figure", "Row", "read_rows", "replace_row", "write_page"]

Row = dict[str, Any]
"""A run: `benchmark`, `command`, `date`, `commit`, `machine`, `seconds`, `lines` (JSON objects as they were printed),
and, if it did not finish, `ended`: the reason."""


@dataclass(frozen=True)
class Figure:
    """A number in the lines of a benchmark, and its goal.

    Attributes:
        what: Name of the figure, which states what is compared with what.
        where: Keys and values that identify its line.
        key: Key of the number in that line; dots lead into objects.
        goal: Sign and bound, such as ("≥", 1.4); None for a figure without a goal.
        missed: Reason why the goal is missed, according to profiling; shown only if it is missed.
        spread: Key of the numbers that bound the repetitions, if the line has them.
    """

    what: str
    where: Mapping[str, Any]
    key: str = "median"
    goal: tuple[Literal["≥", "≤"], float] | None = None
    missed: str = ""
    spread: str = "quartiles"

    def line(self, lines: Sequence[Row]) -> Row | None:
        """Return the line for this number, even if the number is missing in it; None if there is no such line."""
        return next((line for line in lines if all(line.get(key) == at for key, at in self.where.items())), None)

    def value(self, lines: Sequence[Row]) -> float | None:
        """Return the number; None if it was not measured."""
        found: Any = self.line(lines)
        for part in self.key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return None if found is None else float(found)

    def met(self, value: float) -> bool:
        """Return whether a value reaches the goal; True if there is no goal."""
        if self.goal is None:
            return True
        sign, bound = self.goal
        return value >= bound if sign == "≥" else value <= bound


@dataclass(frozen=True)
class Benchmark:
    """A command that prints JSON lines, and the figures that are read from them.

    Attributes:
        name: Short, unique name.
        words: Module after `python -m`, and its options.
        about: Description of what is compared, and how.
        minutes: Approximate time on two idle cores, min.
        figures: Numbers of the page.
        long: Whether it belongs to `make bench-long`.
        threads: Number of threads of torch and of libraries for arrays.
        data: Folder or file in DATA that it needs, such as cifar10; its path follows `words`. "" if it needs none.
        archive: File in DATA that replaces the bundled images if DATA is named; its path comes last. "" if there is
            none.
    """

    name: str
    words: tuple[str, ...]
    about: str
    minutes: float
    figures: tuple[Figure, ...]
    long: bool = False
    threads: int = 1
    data: str = ""
    archive: str = ""

    def arguments(self, data: str | None) -> list[str]:
        """Return the module and its options, with the paths that it needs in the folder of images."""
        own = [f"{data}/{part}" for part in (self.data, self.archive) if part] if data is not None else []
        return [*self.words, *own]

    def command(self, with_data: bool) -> str:
        """Return the command line, with $DATA for the folder of images."""
        words = self.arguments("$DATA" if with_data else None)
        return " ".join([f"OMP_NUM_THREADS={self.threads}", "python", "-m", *words])


def read_rows(path: Path) -> dict[str, Row]:
    """Return the last run of each benchmark, by name."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {row["benchmark"]: row for row in map(json.loads, lines)}


def replace_row(path: Path, row: Row) -> bool:
    """Replace the previous run of a benchmark; keep it and return False if only the previous run finished."""
    rows = read_rows(path)
    before = rows.get(row["benchmark"])
    if before is not None and "ended" in row and "ended" not in before:
        return False
    rows[row["benchmark"]] = row
    with atomic_file(path) as temporary:
        text = "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in rows.values())
        temporary.write_text(text, encoding="utf-8")
    return True


HEAD = """# Benchmarks

Most figures are ratios of two things that were measured in turns on the same machine, each beside its goal. `make
bench` measures the first part in less than half an hour, `make bench-long` the second in some hours. Both write this
page from docs/benchmarks.jsonl, which keeps what the benchmarks printed. Measure one of them again with `python -m
benchmarks run NAME`. The reference of a ratio stays in the benchmark; the docstring of its module says how it is built.

*Spread* is the range from the lower to the upper quartile of the rounds, or the range that the benchmark names.
"""


@dataclass
class _Page:
    parts: list[str] = field(default_factory=lambda: [HEAD])
    met: int = 0
    judged: int = 0

    def add(self, benchmark: Benchmark, row: Row | None) -> None:
        if row is None:
            command = benchmark.command(with_data=True)
            self.parts.append(f"### {benchmark.name}\n\n{benchmark.about}\n\nNot measured yet: `{command}`\n")
            return
        table = ["| what | measured | spread | goal | |", "|---|---|---|---|---|"]
        reasons: dict[str, list[str]] = {}
        for figure in benchmark.figures:
            value = figure.value(row["lines"])
            table.append(_table_line(figure, value, row["lines"]))
            if figure.goal is not None:
                self.judged += 1
                self.met += value is not None and figure.met(value)
            if value is not None and not figure.met(value):
                reasons.setdefault(figure.missed or "the reason is not known yet.", []).append(figure.what)
        why = [f"- {'; '.join(figures)}: {reason}" for reason, figures in reasons.items()]
        told = [benchmark.about, _origin(row), "\n".join(table), "\n".join(why)]
        self.parts.append(f"### {benchmark.name}\n\n" + "\n\n".join(filter(None, told)) + "\n")


def write_page(path: Path, benchmarks: Sequence[Benchmark], rows: Mapping[str, Row]) -> tuple[int, int]:
    """Write the page; return the number of goals that were met, and the number of all goals of measured benchmarks.

    Args:
        path: Path of the page.
        benchmarks: Table of benchmarks.
        rows: Name of a benchmark -> its last run.
    """
    page = _Page()
    for title, long in (("Ratios: `make bench`", False), ("Races and seeds: `make bench-long`", True)):
        page.parts.append(f"## {title}\n")
        for benchmark in benchmarks:
            if benchmark.long == long:
                page.add(benchmark, rows.get(benchmark.name))
    page.parts.insert(1, f"Of the benchmarks that have run, {page.met} of {page.judged} goals are met.\n")
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(page.parts), encoding="utf-8")
    return page.met, page.judged


def _table_line(figure: Figure, value: float | None, lines: Sequence[Row]) -> str:
    line = figure.line(lines) or {}
    goal = "" if figure.goal is None else f"{figure.goal[0]} {figure.goal[1]:g}"
    if value is None:
        why = str(line.get("skipped", "not measured")).replace("|", "/")
        return f"| {figure.what} | {why} | | {goal} | |"
    spread = line.get(figure.spread) if figure.key in ("median", "ratio", "difference", "ms") else None
    between = f"{min(spread):.4g} to {max(spread):.4g}" if spread else ""
    judged = "" if figure.goal is None else "met" if figure.met(value) else "**missed**"
    return f"| {figure.what} | {value:.4g} | {between} | {goal} | {judged} |"


def _origin(row: Row) -> str:
    machine = row["machine"]
    where = f"{machine['processor']} ({machine['simd']}), {machine['cores']} cores, torch {machine['torch']}"
    took = f"{row['seconds'] / 60:.1f} minutes"
    ended = f" It did not finish: {row['ended']}." if "ended" in row else ""
    return f"`{row['command']}`: {row['date']}, commit {row['commit']}, {took}, on {where}.{ended}"
