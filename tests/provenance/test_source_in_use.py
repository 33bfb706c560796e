"""Ingest depends on the module of the source in use, but not on other sources or on how views are made."""

from pathlib import Path

import pytest

from benchmarks.project import copy_code
from ssl_pipeline.config import load
from ssl_pipeline_stages import code

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of the pipeline's code, whose digests are compared, and a project without products."""
    copy_code(tmp_path)
    names = ("ssl_pipeline", "ssl_pipeline_plugins", "ssl_pipeline_stages")
    monkeypatch.setattr(code, "PACKAGES", code.PACKAGES | {name: tmp_path / name for name in names})
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def test_an_edit_of_the_source_in_use_runs_ingest_again_and_no_other_edit_does(copies: Path):
    config = load(ROOT / "params.yaml")

    def edit(file: str) -> str:
        with (copies / file).open("a") as text:
            text.write("# edited\n")
        return code.refresh(config)

    code.refresh(config)
    assert (
        edit("ssl_pipeline_plugins/sources/digits.py") == "changed code in ingest (ssl_pipeline_plugins.sources.digits)"
    )
    assert edit("ssl_pipeline_plugins/sources/folder.py") == ""
    views = edit("ssl_pipeline/augment/policy.py")
    assert "augment" in views
    assert "ingest" not in views
    folder = config.ingest.source.model_copy(update={"name": "folder"})
    chosen = config.model_copy(update={"ingest": config.ingest.model_copy(update={"source": folder})})
    assert code.refresh(chosen).startswith(
        "changed code in ingest (ssl_pipeline.data.caption_files, ssl_pipeline.data.label_tables, "
        "ssl_pipeline_plugins.sources.digits and 1 more"
    )
