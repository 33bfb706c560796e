"""One bundle for all tests that only read it, and a copy for those that damage it."""

import shutil
from pathlib import Path

import pytest

from ssl_pipeline.bundle.writing import write_bundle
from tests.bundle.small_models import told, write_models


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a bundle with a classifier, which tests must not change."""
    root = tmp_path_factory.mktemp("made")
    shipped = write_models(root)
    write_bundle(root / "models/bundle", shipped, told(shipped))
    return root / "models/bundle"


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """Copy the bundle."""
    return Path(shutil.copytree(made, tmp_path / "my bundle"))
