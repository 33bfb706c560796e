"""The source in CONTRIBUTING.md: one file in a project lets it ingest images that no built-in source reads."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.project import ROOT
from ssl_pipeline.config import Choice, load
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_source
from ssl_pipeline.testing import check_source
from ssl_pipeline_stages import code
from tests.pipeline.conftest import command

GONE = '{"gone-plugin": {"version": "1.2", "provides": ["source hub"]}}'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a table of 60 digits and the source that reads it."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    (text,) = re.findall(r"```python\n(# my_plugins/table_of_images.py\n.*?)```", page, re.DOTALL)
    (choice,) = re.findall(r"`ingest.source: (\{.*?\})`", page)
    (tmp_path / "my_plugins").mkdir()
    (tmp_path / "my_plugins" / "table_of_images.py").write_text(text)
    (tmp_path / "images").mkdir()
    data, lines = load_digits(), ["file,kind"]
    for row in range(60):
        Image.fromarray((data.images[row] * 15).astype(np.uint8)).save(tmp_path / "images" / f"{row:02}.png")
        lines.append(f"{row:02}.png,{'even' if data.target[row] % 2 == 0 else 'odd'}")
    (tmp_path / "images" / "table.csv").write_text("\n".join(lines))
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["ingest"]["source"] = yaml.safe_load(choice)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_file_in_a_project_adds_a_source(project: Path):
    run = command(project)
    assert "61 files" in run("python", "-m", "ssl_pipeline", "inventory").stderr
    assert "my_plugins.table_of_images" in json.loads((project / "data/code/ingest.json").read_text())
    run("python", "-m", "ssl_pipeline", "ingest")
    manifest = json.loads((project / "data/ingested/manifest.json").read_text())
    assert manifest["classes"] == ["even", "odd"]
    assert manifest["source"].items() >= {"name": "table_of_images", "path": "images/table.csv"}.items()


def test_the_source_is_as_promised(project: Path):
    source = load_source(Choice(name="table_of_images", path="images/table.csv"))
    check_source(type(source), path="images/table.csv", change=lambda: shutil.copy("images/01.png", "images/00.png"))


def test_a_source_that_is_not_installed_is_told_with_what_it_came(project: Path):
    Path("plugins.lock").write_text(GONE)
    config = load(Path("params.yaml"))
    chosen = config.model_copy(update={"ingest": config.ingest.model_copy(update={"source": Choice(name="hub")})})
    with pytest.raises(ConfigError, match=r"(?s)ingest.source: unknown name 'hub'.*table_of_images.*gone-plugin 1.2"):
        code.source(chosen)
