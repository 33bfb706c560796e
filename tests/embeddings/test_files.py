"""The files of `ssl-pipeline embed` belong together, whatever was lost or stopped; and names that it cannot write."""

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ssl_pipeline.embeddings import table
from tests.embeddings.conftest import Embed


@pytest.mark.parametrize("archive", [False, True])
def test_a_folder_or_an_archive_whose_name_is_no_text_is_refused(call: Embed, archive: bool):
    odd = os.fsdecode(b"odd\xff")
    if archive:
        with zipfile.ZipFile("plain.zip", "w") as file:
            file.write("images/a/00.png", "0.png")
        Path("plain.zip").rename(odd)
    else:
        shutil.copytree("images", odd)
    done = call("images", odd)
    assert done.exit_code == 2
    assert "cannot be used: its name is not valid UTF-8; rename it." in done.stderr
    assert not Path("embeddings.parquet").exists()


def test_where_nothing_can_be_used_an_earlier_table_keeps_its_list_of_rejects(call: Embed):
    Path("images/a/broken.png").write_bytes(b"nothing")
    call("images")
    before = Path("embeddings.rejects.csv").read_bytes()
    Path("notes.txt").write_text("no image")
    done = call("notes.txt")
    assert done.exit_code == 1
    assert "embeddings.parquet and its list of rejects of an earlier run are unchanged." in done.stderr
    assert Path("embeddings.rejects.csv").read_bytes() == before
    assert pq.read_metadata("embeddings.parquet").num_rows == 23


@pytest.mark.parametrize("lost", ["e.npy", "e.csv", "e.json", "e.rejects.csv"])
def test_a_file_that_is_lost_is_made_again(call: Embed, lost: str):
    Path("images/a/broken.png").write_bytes(b"nothing")
    call("images", "--out", "e.npy")
    assert "is up to date" in call("images", "--out", "e.npy").stdout
    Path(lost).unlink()
    assert call("images", "--out", "e.npy").stdout.startswith("e.npy: 23 images embedded")
    assert Path(lost).exists()


def test_an_array_is_never_beside_what_describes_another(call: Embed, monkeypatch: pytest.MonkeyPatch):
    def killed(path: Path, content: object) -> None:
        raise KeyboardInterrupt

    call("images", "--out", "e.npy")
    with monkeypatch.context() as patch:
        patch.setattr(table, "write_json", killed)
        call("images/b", "--out", "e.npy")
    assert len(np.load("e.npy")) == 11
    assert not Path("e.json").exists()
    assert "11 images embedded" in call("images/b", "--out", "e.npy").stdout
