"""Some files that one process works on, and what has come of them."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Chunk"]


@dataclass(eq=False)
class Chunk:
    """Some files to work on in one process.

    Attributes:
        names: The files.
        read: Reads one by its name; goes to another process, like `work`. What they raise ends the run, but for a
            `RejectedError`, which is an outcome.
        work: Makes an outcome of what was read.
        outcomes: The outcomes, one for each file so far; a `RejectedError` too if the process had to be ended. None is
            left of those that were taken.
        held: The bytes of each outcome that was not yet taken.
    """

    names: Sequence[str]
    read: Callable[[str], Any]
    work: Callable[[Any], Any]
    outcomes: list[Any] = field(default_factory=list)
    held: deque[int] = field(default_factory=deque)

    @property
    def done(self) -> bool:
        """Whether all files have an outcome."""
        return len(self.outcomes) == len(self.names)

    def add(self, outcome: Any, held: int = 0) -> None:
        """Add the outcome of the next file."""
        self.outcomes.append(outcome)
        self.held.append(held)

    def take(self) -> Iterator[Any]:
        """Return what has come since the last time, and keep none of it."""
        while self.held:
            place = len(self.outcomes) - len(self.held)
            taken, self.outcomes[place] = self.outcomes[place], None
            self.held.popleft()
            yield taken
