"""What decoding has to say of a file: why it cannot be used, or what was left out of it."""

from typing import NamedTuple

__all__ = ["Note", "RejectedError"]


class RejectedError(Exception):
    """An image that cannot be used; `kind` is what to count it under, `str()` the whole reason."""

    def __init__(self, kind: str, detail: str = ""):
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail

    @property
    def depends_on_machine(self) -> bool:
        """Whether the same file may be read another time, when the machine is less busy or a disk answers."""
        return self.kind in ("too slow", "unreadable") or self.detail.startswith(("it does not fit", "its decoder"))

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


class Note(NamedTuple):
    """What a person should know of an image that is used all the same.

    Attributes:
        kind: A predicate of several files, to count them under: "have further pages, which were ignored".
        detail: What is true of this file: "24 beside the first".
    """

    kind: str
    detail: str
