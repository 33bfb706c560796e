"""docs/large_batches.md: its text is written by hand, its tables and picture are made from rows of large_batches."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["BASELINE", "LOSSES", "ONE_PASS", "Row", "write_page"]

Row = dict[str, Any]
BASELINE, ONE_PASS = "untrained", "one pass"
LOSSES: dict[str, dict[str, Any]] = {
    "info_nce": {"recipe": "simclr", "loss": {"temperature": 0.5}},  # that of debiased
    "debiased": {"recipe": "debiased"},
    "vicreg": {"recipe": "vicreg"},
}
"""Loss -> its recipe."""
STYLE = {"info_nce": ("#0072B2", "o-"), "debiased": ("#009E73", "s-"), "vicreg": ("#D55E00", "^-")}
"""Colours of Okabe and Ito, which colour-blind readers tell apart."""


def write_page(page: Path, rows: Sequence[Row], seen: Mapping[str, int]) -> None: ...
