"""Products are whole or not there."""

from pathlib import Path

import pytest

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import atomic_file, atomic_folder, digest, read_json, sha256, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "deep" / "file"
    with atomic_file(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [item.name for item in path.parent.iterdir()] == ["file"]


def test_a_failed_folder_leaves_the_old_one_and_a_whole_one_replaces_it(tmp_path: Path):
    path = tmp_path / "folder"
    with atomic_folder(path) as temporary:
        (temporary / "old").touch()
    with pytest.raises(RuntimeError), atomic_folder(path) as temporary:
        (temporary / "half").touch()
        raise RuntimeError
    assert [item.name for item in path.iterdir()] == ["old"]
    with atomic_folder(path) as temporary:
        (temporary / "new").touch()
    assert [item.name for item in path.iterdir()] == ["new"]
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]


def test_json_that_is_missing_or_damaged_names_the_stage(tmp_path: Path):
    path = tmp_path / "model.json"
    with pytest.raises(PipelineError, match=r"does not exist: the stage 'pretrain' makes it. Run `dvc repro pretrain`"):
        read_json(path, "pretrain")
    path.write_text("{")
    with pytest.raises(PipelineError, match="damaged.*dvc repro --force pretrain"):
        read_json(path, "pretrain")
    write_json(path, {"a": 1})
    assert read_json(path, "pretrain") == {"a": 1}


def test_json_has_no_nan(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_digests_are_sha256_and_do_not_depend_on_the_order_of_keys(tmp_path: Path):
    (tmp_path / "empty").touch()
    assert sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
