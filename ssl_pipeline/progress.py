"""Progress messages: a bar on a terminal, and a line about every 30 seconds elsewhere."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ssl_pipeline import ranks
from ssl_pipeline.terminal import printable

__all__ = ["bar", "say", "track"]

T = TypeVar("T")

LINE_SECONDS = 30.0
"""Time between two lines of progress without a terminal."""

console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """Print a line to stderr, whether or not it is a terminal; among several ranks, only the first one prints."""
    if ranks.leads():
        console.print(printable(message), markup=False)


class _Lines(Progress):
    """Progress for logs: draws nothing, and prints a line about the state of a task from time to time."""

    _said_at: float = math.nan

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._say_if_due(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._say_if_due(task_id)

    def _say_if_due(self, task_id: TaskID) -> None:
        task, now = self._tasks[task_id], time.monotonic()
        if math.isnan(self._said_at):
            self._said_at = now
        if now - self._said_at < LINE_SECONDS or task.finished:
            return
        self._said_at = now
        parts = [f"{task.description}: {task.completed:,.0f}" + (f" of {task.total:,.0f}" if task.total else "")]
        parts += [task.fields["info"]] if task.fields["info"] else []
        if task.time_remaining is not None:
            parts.append(f"{timedelta(seconds=math.ceil(task.time_remaining))} left")
        say(", ".join(parts))


@contextmanager
def bar() -> Iterator[Progress]:
    """Yield a progress bar with a field `info` for figures; lines instead of a bar if stderr is not a terminal."""
    if not console.is_terminal or not ranks.leads():
        yield _Lines(disable=True)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[info]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield progress


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar."""
    with bar() as progress:
        task = progress.add_task(description, total=total, info="")
        for item in items:
            yield item
            progress.advance(task)
