"""Promises about the English of docstrings: each entry begins with a noun that says what is described."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("ssl_pipeline", "plugins", "stages", "benchmarks", "examples")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), *SOURCES]
NO_NOUN = ("As", "At", "By", "For", "From", "In", "Into", "Is", "Likewise", "Not", "Of", "On", "To", "With")
NO_NOUN += ("That", "Those", "Where", "Which")
SHAPE_ALONE = re.compile(
    r"\([^()]*\)(?:,? (?:bool|u?int\d+|float\d*|unit-norm))?[.;,]?(?: |$)(?:(?:in|of|or|equal|as|any)\b.*)?"
)
"""A shape, perhaps with a type or a range, without a noun that says what has this shape."""


def entries(docstring: str) -> Iterator[tuple[str, str]]:
    """Yield the names and first lines of the entries in the sections Args and Attributes."""
    for section in re.findall(r"^(?:Args|Attributes):\n((?:(?: .*)?(?:\n|$))+)", docstring, re.MULTILINE):
        yield from re.findall(r"^ {4}(\*{0,2}\w+): +(.*)", section, re.MULTILINE)


def without_noun(path: Path) -> list[str]:
    """Return the entries of a module that begin with a word that needs a noun before it."""
    nodes = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef | ast.FunctionDef))
    found = [entry for node in nodes for entry in entries(ast.get_docstring(node) or "")]
    return [
        f"{name}: {text}" for name, text in found if text.partition(" ")[0] in NO_NOUN or SHAPE_ALONE.fullmatch(text)
    ]


def test_entries_are_found():
    docstring = "Do.\n\nArgs:\n    first: Of two\n        lines.\n    **rest: More.\n\nReturns:\n    other: Of none.\n"
    assert list(entries(docstring)) == [("first", "Of two"), ("**rest", "More.")]


def test_arguments_are_described_by_nouns():
    assert {str(path.relative_to(ROOT)): found for path in SOURCES if (found := without_noun(path))} == {}


@pytest.mark.parametrize("word", ["likewise"])
def test_words_that_stand_for_what_was_not_said_are_absent(word: str):
    pattern = re.compile(rf"\b{word}\b", re.IGNORECASE)
    assert [str(path.relative_to(ROOT)) for path in PAGES if pattern.search(path.read_text())] == []
