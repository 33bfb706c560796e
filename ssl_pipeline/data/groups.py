"""Group items that share a name or are joined one by one (union-find)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

__all__ = ["Groups"]


class Groups:
    """Groups of items, which are numbered from 0; items that share a name start in the same group.

    Args:
        names: Names of each item, which may have none or several.
    """

    def __init__(self, names: Sequence[Iterable[str]]):
        self._parent = list(range(len(names)))
        first: dict[str, int] = {}
        for number, mine in enumerate(names):
            for name in sorted(mine):
                self.join(number, first.setdefault(name, number))

    def root(self, number: int) -> int:
        """Return the item that represents an item's group."""
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def join(self, one: int, other: int) -> None:
        """Merge the groups of two items."""
        self._parent[self.root(one)] = self.root(other)

    def members(self) -> list[list[int]]:
        """Return the groups, each sorted, ordered by their first items."""
        found: defaultdict[int, list[int]] = defaultdict(list)
        for number in range(len(self._parent)):
            found[self.root(number)].append(number)
        return list(found.values())
