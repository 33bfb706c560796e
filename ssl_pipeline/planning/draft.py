"""Parameters while they are being planned: proposed values, and values that the user has set."""

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Draft", "Setting", "value_at"]


@dataclass(frozen=True)
class Setting:
    """Proposed value of a key.

    Attributes:
        key: Key in params.yaml, such as pretrain.epochs.
        value: Proposed value, as in YAML.
        reason: Reason for the value, in one sentence.
        left: Whether the user has set another value, which is not replaced.
    """

    key: str
    value: Any
    reason: str
    left: bool


def value_at(content: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key such as pretrain.epochs; None if it is missing."""
    section, _, name = key.partition(".")
    values = content.get(section)
    return values.get(name) if isinstance(values, Mapping) else None


class Draft:
    """Draft of params.yaml, into which settings are put one after another.

    Args:
        content: Content of params.yaml, which is copied and not changed.
        left: Keys whose values the user has set.
    """

    def __init__(self, content: Mapping[str, Any], left: Collection[str]):
        self.content: dict[str, Any] = copy.deepcopy(dict(content))
        self.left = frozenset(left)
        self.settings: dict[str, Setting] = {}

    def put(self, key: str, value: Any, reason: str) -> Any:
        """Propose a value, and return the effective one: this value, or the user's if there is one."""
        left = key in self.left and value_at(self.content, key) != value
        self.settings[key] = Setting(key, value, reason, left)
        return self.set(key, value)

    def set(self, key: str, value: Any) -> Any:
        """Set a value without proposing it, unless the user has set another; return the effective one."""
        if key in self.left:
            return value_at(self.content, key)
        section, _, name = key.partition(".")
        self.content[section][name] = copy.deepcopy(value)
        return value
