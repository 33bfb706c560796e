"""Full and read-only disks are reported; earlier files stay, and nothing else is left behind."""

import errno
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ssl_pipeline import disk
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import atomic_file, atomic_folder


@pytest.fixture
def _files_of_64_kb_at_most() -> Iterator[None]:
    """Let writes beyond 64 KB fail as those on a full disk do."""
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
    with pytest.raises(PipelineError, match="folder could not be written because"), atomic_folder(path) as temporary:
        np.savez(temporary / "images.npz", images=np.zeros(2**16))
    file = tmp_path / "file"
    with pytest.raises(PipelineError, match="file could not be written because"), atomic_file(file) as temporary:
        temporary.write_bytes(bytes(2**17))
    assert [item.name for item in tmp_path.rglob("*")] == ["folder", "old"]


@pytest.mark.parametrize("free", [0, 2**30])
def test_a_write_that_failed_without_a_cause_is_taken_for_a_full_disk_only_on_one(
    free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def unexplained() -> None:
        with atomic_file(tmp_path / "file"):
            raise OSError("1000 requested and 12 written")

    monkeypatch.setattr(disk, "_free", lambda folder: free)
    with pytest.raises(OSError if free else PipelineError, match="12 written"):
        unexplained()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_may_not_be_written_to_is_named(number: int, tmp_path: Path):
    told = "^models cannot be read or written .* Grant this user access"
    with pytest.raises(PipelineError, match=told), atomic_file(tmp_path / "file"):
        raise OSError(number, "not for you", "models")
