"""Two ranks of ingest write the same bytes as one, and no half-written product remains if one of them dies."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ssl_pipeline.data.inventory import refresh
from ssl_pipeline_plugins.sources.folder import Folder
from ssl_pipeline_stages import guarded
from ssl_pipeline_stages.ingest import ingest
from ssl_pipeline_stages.paths import INVENTORY, hashes
from tests.pair import second_rank
from tests.stages.test_ingest import PARAMS, contents, write_digits

DYING = """
import os, sys
from ssl_pipeline.data import filling
from ssl_pipeline_stages.ingest import ingest

class Spool(filling.Spool):
    def keep(self, path, outcome):
        if len(self.known) == 20:
            self.flush()
            os.kill(os.getpid(), 9)
        super().keep(path, outcome)

filling.Spool = Spool
ingest([])
"""


def test_two_ranks_write_the_bytes_of_one_also_after_one_of_them_has_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(guarded, "_PATIENCE_SECONDS", 0.0)
    source = write_digits(tmp_path / "pile", 121)
    (tmp_path / "pile" / "broken.png").write_text("no image")
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    params["ingest"] |= {"source": source}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    refresh(Folder(path="pile"), source, INVENTORY, hashes())

    def run() -> str:
        result = CliRunner().invoke(ingest, [])
        assert result.exit_code == 0, result.output
        return result.stderr

    run()
    expected = contents(Path("data")), contents(Path("reports"))

    with second_rank(monkeypatch, "-c", DYING) as second:
        result = CliRunner().invoke(ingest, [])
    assert second.returncode == -9
    assert result.exit_code == 1
    assert result.stderr.startswith("error: Another process of this run has ended early; its output")
    assert (contents(Path("data")), contents(Path("reports"))) == expected  # those of the previous run
    shares = [len(path.read_bytes().splitlines()) for path in sorted(Path(".work").glob("ingest/*/outcomes-*"))]
    assert shares == [61, 20]

    (tmp_path / "data" / "ingested").rename("aside")
    with second_rank(monkeypatch, "-m", "ssl_pipeline", "ingest"):
        said = run()
    assert "ingest: 81 files of 122 were already decoded by an earlier run" in said
    assert (contents(Path("data")), contents(Path("reports"))) == expected
    assert not list(Path(".work").glob("ingest/*"))
