"""A batch of files that one process works on, with the outcomes so far."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Chunk"]


@dataclass(eq=False)
class Chunk:
    """Files to work on in one process.

    Attributes:
        names: Names of the files.
        read: Function that reads a file by its name. Like `work`, it is sent to another process. A `RejectedError` that
            either raises is an outcome; any other error ends the run.
        work: Function that turns what was read into an outcome.
        outcomes: Outcomes so far, one per file. If the process had to be killed, the outcome is a `RejectedError`.
            Outcomes that were taken are replaced by None.
        held: Size in bytes of each outcome that has not been taken yet.
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
        """Yield the outcomes that were added since the last call, and release them."""
        while self.held:
            place = len(self.outcomes) - len(self.held)
            taken, self.outcomes[place] = self.outcomes[place], None
            self.held.popleft()
            yield taken
