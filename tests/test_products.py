"""Products are whole or not there."""

import errno
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ssl_pipeline import products
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


@pytest.fixture
def _files_of_64_kb_at_most() -> Iterator[None]:
    """Let writes beyond that fail, as those on a full disk do."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("_files_of_64_kb_at_most")
def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "folder"
    with atomic_folder(path) as temporary:
        (temporary / "old").touch()
    with pytest.raises(PipelineError, match="folder could not be written, because"), atomic_folder(path) as temporary:
        np.savez(temporary / "images.npz", images=np.zeros(2**16))
    file = tmp_path / "file"
    with pytest.raises(PipelineError, match="file could not be written, because"), atomic_file(file) as temporary:
        temporary.write_bytes(bytes(2**17))
    assert [item.name for item in tmp_path.rglob("*")] == ["folder", "old"]


@pytest.mark.parametrize("free", [0, 2**30])
def test_a_write_that_failed_without_a_cause_is_taken_for_a_full_disk_only_on_one(
    free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def unexplained() -> None:
        with atomic_file(tmp_path / "file"):
            raise OSError("1000 requested and 12 written")

    monkeypatch.setattr(products, "_free", lambda folder: free)
    with pytest.raises(OSError if free else PipelineError, match="12 written"):
        unexplained()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_may_not_be_written_to_is_named(number: int, tmp_path: Path):
    told = "^models cannot be read or written .* give this user access"
    with pytest.raises(PipelineError, match=told), atomic_file(tmp_path / "file"):
        raise OSError(number, "not for you", "models")
