"""Figures and their intervals as text, in a module of its own, so that a page does not depend on what computes them."""

from collections.abc import Mapping
from typing import Any

__all__ = ["gained"]


def gained(gain: Mapping[str, Any]) -> str:
    """Return a difference of accuracies with its interval, in percentage points, as text."""
    return f"{100 * gain['accuracy']:+.1f} [{100 * gain['accuracy_low']:+.1f}, {100 * gain['accuracy_high']:+.1f}]"
