"""Golden texts: inputs that verify the text tower of a bundle. They are nobody's captions, in several scripts."""

from pathlib import Path
from typing import Any

import numpy.typing as npt

from ssl_pipeline.tokenizer import TOKENIZER, Tokenizer

__all__ = ["GOLDEN_TEXTS", "text_cases"]

GOLDEN_TEXTS = (
    "two dogs, one of them asleep, in front of a blue door",
    "3.5 kg",
    "",
    "\u81ea\u884c\u8f66",
    "\u062f\u0631\u0627\u062c\u0629 \u062d\u0645\u0631\u0627\u0621",
    "caf\u00e9 \U0001f6b2",
    "far " * 400,
    "a red bicycle",
)
"""The last but one exceeds the length limit and is cut off."""


def text_cases(graph: Path) -> list[dict[str, npt.NDArray[Any]]]:
    """Return the inputs of a text tower for two cases: all texts but the last, padded, and the last without padding.

    Args:
        graph: Path of text.onnx, with its tokenizer beside it.

    Returns:
        `tokens` and `mask` (N, L) int64 for each case.
    """
    tokens, mask, _ = Tokenizer.read(graph.with_name(TOKENIZER)).encode(GOLDEN_TEXTS)
    length = int(mask[-1].sum())
    return [
        {"tokens": tokens[:-1], "mask": mask[:-1]},
        {"tokens": tokens[-1:, :length], "mask": mask[-1:, :length]},
    ]
