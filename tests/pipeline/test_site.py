"""The site is built with every link checked, from what is there, and loads nothing from the network when it is read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.project import ROOT

pytest.importorskip("material", reason="the extra `docs` is not installed")
pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_no_page_loads_anything_from_the_network(site: Path):
    loads = re.compile(
        r"<(?:script|img|iframe|source|video|audio)[^>]* src=[\"']?(?:https?:)?//|<link(?![^>]*rel=[\"']?canonical)"
        r"[^>]* href=[\"']?(?:https?:)?//|@import|url\([\"']?(?:https?:)?//"
    )
    texts = [path for path in site.rglob("*.*") if path.suffix in (".html", ".css")]
    assert len(texts) > 30
    assert [path.name for path in texts if loads.search(path.read_text(encoding="utf-8"))] == []


def test_the_reference_has_what_the_code_has(site: Path):
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html")}
    for page, names in {
        "library": ("ssl_pipeline.library.pretraining.pretrain", "ssl_pipeline.library.embedding.embed"),
        "contracts": ("ssl_pipeline.types.Loss", "ssl_pipeline.types.PretextTask.compare"),
        "losses": ("ssl_pipeline_plugins.losses.info_nce.InfoNCE",),
        "testing": ("ssl_pipeline.testing.check_loss",),
        "commands": ("linear_eval", "drift"),
    }.items():
        assert all(f'id="{name}"' in pages[page] for name in names), page
    assert "max_reject_fraction" in pages["params"]


def test_the_search_finds_words_of_guides_and_of_docstrings(site: Path):
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    assert "near copies" in index
    assert "NT-Xent" in index
