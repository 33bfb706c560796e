"""The pages that people read: README, CONTRIBUTING and docs/, and what stands in them."""

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.project import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
RUN_HERE = [ROOT / "README.md", *(DOCS / f"{name}.md" for name in ("quickstart", "dvc", "plugins"))]
"""Pages whose commands are run, in this order, one after the other."""


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of code of a page in a language, in their order."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(pages: list[Path]) -> list[str]:
    """The different lines of the shell in pages, without what is said of them."""
    found = (line for page in pages for block in blocks(page, "bash") for line in block.splitlines())
    return list(dict.fromkeys(line.partition("#")[0].strip() for line in found if line.partition("#")[0].strip()))


def anchors(page: Path) -> set[str]:
    """What links may name behind a #: the headings of a page, as browsers of repositories and mkdocs write them."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def links(page: Path) -> Iterator[tuple[str, str]]:
    """The relative links of a page, as a path, empty for the page itself, and an anchor, empty for none."""
    text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield path, anchor
