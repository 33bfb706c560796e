"""Hashes of files: correct after each visible change, remembered between runs, and no file blocks the run."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from ssl_pipeline.data import hashes
from ssl_pipeline.data.hashes import Hashed, hash_files

X = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # sha256 of "x"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that receives the name of each file that is read from now on."""
    names: list[str] = []
    original = hashes.sha256

    def noting(path: Path) -> str:
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(hashes, "sha256", noting)
    return names


def write(path: Path, content: str, age: float = 100.0) -> None:
    path.write_text(content)
    os.utime(path, (time.time() - age,) * 2)


def test_a_file_is_read_again_only_where_it_has_changed(tmp_path: Path, read: list[str]) -> None:
    pile, memory = tmp_path / "pile", tmp_path / "work" / "hashes.sqlite"
    pile.mkdir()
    for name in ("a", "b", "c"):
        write(pile / name, "x")
    assert hash_files(pile, ["b", "a", "c"], memory) == {name: Hashed(1, X) for name in ("b", "a", "c")}
    assert sorted(read) == ["a", "b", "c"]
    read.clear()
    write(pile / "a", "y")  # same size, other time
    write(tmp_path / "other", "z", age=50)
    os.utime(tmp_path / "other", ns=((pile / "b").stat().st_mtime_ns,) * 2)
    (tmp_path / "other").replace(pile / "b")  # same size and time, but another file
    found = hash_files(pile, ["a", "b", "c"], memory)
    assert sorted(read) == ["a", "b"]
    assert len({item.sha256 for item in found.values()}) == 3
    assert found["c"] == Hashed(1, X)


def test_a_file_that_was_written_just_now_is_read_again(tmp_path: Path, read: list[str]) -> None:
    """The file may change again within a tick of the file system's clock, and then looks the same."""
    write(tmp_path / "a", "x", age=0)
    status = (tmp_path / "a").stat()
    hash_files(tmp_path, ["a"], tmp_path / "memory")
    (tmp_path / "a").write_text("y")
    os.utime(tmp_path / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert hash_files(tmp_path, ["a"], tmp_path / "memory")["a"].sha256 != X
    assert read == ["a", "a"]


def test_folders_do_not_mix_and_what_is_gone_is_forgotten(tmp_path: Path, read: list[str]) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "a", folder)
    memory = tmp_path / "memory"
    one, two = (hash_files(tmp_path / folder, ["a"], memory) for folder in ("one", "two"))
    assert one != two
    hash_files(tmp_path / "one", [], memory)
    read.clear()
    assert [hash_files(tmp_path / folder, ["a"], memory) for folder in ("one", "two")] == [one, two]
    assert read == ["a"]


def test_what_cannot_be_read_is_said_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    write(tmp_path / "a", "x")
    assert hash_files(tmp_path, ["pipe", "gone", "a"], tmp_path / "memory") == {
        "pipe": Hashed(trouble="not a regular file"),
        "gone": Hashed(trouble="No such file or directory"),
        "a": Hashed(1, X),
    }


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to be taken for one", b"SQLite format 3\0" * 9]
)
def test_a_damaged_memory_is_made_anew(tmp_path: Path, read: list[str], content: bytes) -> None:
    write(tmp_path / "a", "x")
    memory = tmp_path / "memory"
    memory.write_bytes(content)
    for _ in range(2):
        assert hash_files(tmp_path, ["a"], memory) == {"a": Hashed(1, X)}
    assert read == ["a"]


def test_no_trouble_with_the_memory_stops_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "_MAX_WAIT_SECONDS", 0.1)
    write(tmp_path / "a", "x")
    (tmp_path / "folder").mkdir()
    with closing(sqlite3.connect(tmp_path / "other")) as database, database:
        database.execute("CREATE TABLE hashes (theirs)")
    before = (tmp_path / "other").read_bytes()
    with closing(sqlite3.connect(tmp_path / "locked")) as database:
        database.execute("BEGIN EXCLUSIVE")
        for memory in ("folder", "other", "locked", "a/below a file"):
            assert hash_files(tmp_path, ["a"], tmp_path / memory) == {"a": Hashed(1, X)}
    assert (tmp_path / "other").read_bytes() == before  # it may belong to someone else
