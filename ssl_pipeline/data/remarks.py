"""Remarks of decoding about a file: why it cannot be used, or what was left out."""

from typing import NamedTuple

__all__ = ["Note", "RejectedError"]


class RejectedError(Exception):
    """An image that cannot be used.

    Args:
        kind: Short reason, by which rejects are counted.
        detail: What is wrong with this file in particular; `str()` of the error gives both.
    """

    def __init__(self, kind: str, detail: str = ""):
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail

    @property
    def depends_on_machine(self) -> bool:
        """Whether the same file may be readable at another time, when the machine is less busy or a disk responds."""
        return self.kind in ("too slow", "unreadable") or self.detail.startswith(("it does not fit", "its decoder"))

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


class Note(NamedTuple):
    """A note on an image that is used all the same.

    Attributes:
        kind: Predicate for several files, by which notes are counted: "have further pages, which were ignored".
        detail: Detail about this file: "24 beside the first".
    """

    kind: str
    detail: str
