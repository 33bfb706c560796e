"""The core names no method: messages hold for every plugin, and advice comes from the object that has the option."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl_pipeline.loading import load_registry
from ssl_pipeline.registry import KINDS

ROOT = Path(__file__).parents[1]
ORDINARY = {
    "clip",
    "clips",
    "contrastive",
    "denoise",
    "digits",
    "energy",
    "flip",
    "folder",
    "hard",
    "masked",
    "nce",
    "queue",
    "ring",
    "rotation",
    "spectral",
    "triplet",
} | {"truncated", "debiased", "sigmoid", "decoupled"}
"""Names that are also ordinary words or terms; they count only as the value of a key or as a whole string."""
OTHER_THINGS = {"clip", "clips", "timm", "torchvision", "negative_cosine", "energy", "rotation", "debiased"}
"""Strings that, if they stand alone, name something other than a method: a distribution whose version is noted, an
energy, an output of a graph, an operation on views, a capability of a loss, an array of the store, or films.
"""


def names() -> set[str]:
    registry = load_registry()
    return {name.rstrip("/") for kind in KINDS for name in registry.names(kind)}


def strings(code: str) -> Iterator[str]:
    """Yield the string constants of a module except its docstrings, which cite methods and their papers."""
    tree = ast.parse(code)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def named(text: str, known: set[str]) -> set[str]:
    """Return the methods that a text names."""
    words = {word.lower() for word in re.findall(r"[A-Za-z0-9_]+", text)} & known - ORDINARY
    values = re.findall(r"(?:name|source|recipe|negatives|loss|pretext_task): ([a-z0-9_]+)", text)
    return words | {text, *values} & known


@pytest.mark.parametrize(
    "text",
    [
        "{name: queue}",
        "one of timm/...",
        "torchvision has it",
        "source: folder",
        "pretrain.negatives: hard",
        "take swav",
        "SimCLR",
        "queue",
    ],
)
def test_a_method_is_found_in_a_message(text: str):
    assert named(text, names())


@pytest.mark.parametrize("text", ["the queue is stale", "the energy of a pair", "a hard limit", "in a folder"])
def test_a_word_is_no_method(text: str):
    assert not named(text, names())


def test_no_message_of_the_core_names_a_method():
    known = names()
    assert len(known) > 40
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in (ROOT / "ssl_pipeline").rglob("*.py")
        for text in strings(path.read_text(encoding="utf-8"))
        if text not in OTHER_THINGS
        for name in named(text, known)
    }
    assert not found
