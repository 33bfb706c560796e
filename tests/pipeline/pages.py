"""The pages that people read (README, CONTRIBUTING and docs/), and the code, commands and links in them."""

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.project import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
RUN_HERE = [ROOT / "README.md", *(DOCS / f"{name}.md" for name in ("quickstart", "dvc", "plugins"))]
"""Pages whose commands are run, one after the other, in this order."""


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in one language, in order."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(pages: list[Path]) -> list[str]:
    """Return the distinct shell commands of pages, without comments."""
    found = (line for page in pages for block in blocks(page, "bash") for line in block.splitlines())
    return list(dict.fromkeys(line.partition("#")[0].strip() for line in found if line.partition("#")[0].strip()))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: its headings, spelt as repository browsers and mkdocs spell them."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the relative links of a page as (path, anchor); no path means the page itself, no anchor its top."""
    text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield path, anchor
