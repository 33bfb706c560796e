"""Parameters while they are being planned: what is proposed, and what a person has set and keeps."""

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Draft", "Setting", "value_at"]


@dataclass(frozen=True)
class Setting:
    """A value that is proposed.

    Attributes:
        key: The place of the value in params.yaml, such as pretrain.epochs.
        value: The value, as YAML has it.
        reason: One sentence.
        left: Whether a person has set another value, which stays.
    """

    key: str
    value: Any
    reason: str
    left: bool


def value_at(content: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key such as pretrain.epochs; None where there is none."""
    section, _, name = key.partition(".")
    values = content.get(section)
    return values.get(name) if isinstance(values, Mapping) else None


class Draft:
    """The content of params.yaml, into which settings are put one after another.

    Args:
        content: The content as it is, which stays as it is.
        left: Keys whose values a person has set.
    """

    def __init__(self, content: Mapping[str, Any], left: Collection[str]):
        self.content: dict[str, Any] = copy.deepcopy(dict(content))
        self.left = frozenset(left)
        self.settings: dict[str, Setting] = {}

    def put(self, key: str, value: Any, reason: str) -> Any:
        """Propose a value, and return the one that counts: this one, or that of the person."""
        left = key in self.left and value_at(self.content, key) != value
        self.settings[key] = Setting(key, value, reason, left)
        return self.set(key, value)

    def set(self, key: str, value: Any) -> Any:
        """Put in a value without proposing it, unless a person has set another; return the one that counts."""
        if key in self.left:
            return value_at(self.content, key)
        section, _, name = key.partition(".")
        self.content[section][name] = copy.deepcopy(value)
        return value
