"""Figures with their intervals in words: apart from what computes them, so that a page reaches no more than it says."""

from collections.abc import Mapping
from typing import Any

__all__ = ["gained"]


def gained(gain: Mapping[str, Any]) -> str:
    """Return a difference of accuracies with its interval, in points."""
    return f"{100 * gain['accuracy']:+.1f} [{100 * gain['accuracy_low']:+.1f}, {100 * gain['accuracy_high']:+.1f}]"
