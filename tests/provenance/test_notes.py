"""Digests of code on disk: written only if they differ; changed code is named in one line."""

from pathlib import Path

import pytest

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.provenance.notes import note, told


def test_a_note_is_written_only_where_it_differs(tmp_path: Path):
    path = tmp_path / "code" / "pretrain.json"
    assert note(path, {"a": "1", "b": "2"}) == set()
    before = path.stat().st_mtime_ns
    assert note(path, {"a": "1", "b": "2"}) == set()
    assert path.stat().st_mtime_ns == before
    assert note(path, {"b": "3", "c": "4"}) == {"a", "b", "c"}
    path.write_text("[1]")
    assert note(path, {"b": "3"}) == set()
    assert path.read_text() == '{\n  "b": "3"\n}\n'


def test_a_folder_in_the_place_of_a_note_is_told(tmp_path: Path):
    with pytest.raises(PipelineError, match=r"cannot be read \(Is a directory\): remove it"):
        note(tmp_path, {})


def test_other_code_is_named_in_one_short_line():
    assert told({"augment": set(), "pretrain": set()}) == ""
    assert (
        told({"augment": set(), "pretrain": {"b", "a"}, "export": {"a"}}) == "changed code in pretrain, export (a, b)"
    )
    assert told({"export": {"a", "b", "c", "d", "e"}}) == "changed code in export (a, b, c and 2 more)"
