"""One small run and its page, shared by all tests of the page; no test may change them."""

from pathlib import Path

import pytest

from ssl_pipeline.config import Config, load
from ssl_pipeline.page.facts import Places
from ssl_pipeline.page.page import write_page
from ssl_pipeline.page.pile import open_pile
from tests.page.small_run import (
    MARKUP,
    PARAMS,
    write_backbone,
    write_confusion,
    write_curated,
    write_reports,
    write_store,
)


def places_of(root: Path) -> Places:
    """Return where the products of a run are."""
    return Places(
        ingested=root / "data/ingested",
        augmented=root / "data/augmented",
        reports=root / "reports",
        card=root / "models/pretrain/model.json",
        backbone=root / "models/export/backbone.onnx",
        models=(root / "models/export",),
    )


@pytest.fixture(scope="session")
def config() -> Config:
    return load(PARAMS)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in which every stage has left products."""
    root = tmp_path_factory.mktemp("run")
    write_store(root)
    write_backbone(root / "models/export/backbone.onnx")
    write_reports(root)
    pile = open_pile(root / "data/ingested/store")
    write_curated(root, [row.path for row in pile.rows])
    write_confusion(root, [pile.rows[position].label for position in pile.labelled("test")])
    return root


@pytest.fixture(scope="session")
def page(small_run: Path, config: Config) -> Path:
    """The report page of that run."""
    write_page(MARKUP, places_of(small_run), config, small_run / "reports/index.html")
    return small_run / "reports/index.html"
