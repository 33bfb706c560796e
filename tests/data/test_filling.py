"""Filling the spool by several ranks; whole runs of ranks are in tests/stages/test_ingest_together.py."""

from pathlib import Path

import pytest

from ssl_pipeline import ranks
from ssl_pipeline.data.filling import fill, help_to_fill
from ssl_pipeline.data.source import Images
from ssl_pipeline.data.spool import Spool
from ssl_pipeline.errors import PipelineError


def test_a_folder_that_is_not_shared_is_told_before_anything_is_decoded(tmp_path: Path, monkeypatch, request):
    missing = tmp_path / "of the first machine"
    monkeypatch.setattr(ranks, "told", lambda value: (str(missing), ["a.png"]))
    with pytest.raises(PipelineError, match="All machines must share the project folder"):
        help_to_fill(None, None)  # fails before it would open a source
    assert not missing.exists()
    monkeypatch.setattr(ranks, "gathered", lambda part: [part, False])
    with Spool(tmp_path / "spool") as spool, pytest.raises(PipelineError, match="All machines must share"):
        fill(spool, Images([], {}, None), None)
