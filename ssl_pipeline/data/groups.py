"""Things that belong together: those that share a name, and those that are joined (union-find)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

__all__ = ["Groups"]


class Groups:
    """Groups of numbers, at first of those that share a name.

    Args:
        names: The names of each thing; it may have none, or several.
    """

    def __init__(self, names: Sequence[Iterable[str]]):
        self._parent = list(range(len(names)))
        first: dict[str, int] = {}
        for number, mine in enumerate(names):
            for name in sorted(mine):
                self.join(number, first.setdefault(name, number))

    def root(self, number: int) -> int:
        """Return the number that stands for a number's group."""
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def join(self, one: int, other: int) -> None:
        """Make one group of two."""
        self._parent[self.root(one)] = self.root(other)

    def members(self) -> list[list[int]]:
        """Return the groups, each sorted, in the order of their first."""
        found: defaultdict[int, list[int]] = defaultdict(list)
        for number in range(len(self._parent)):
            found[self.root(number)].append(number)
        return list(found.values())
