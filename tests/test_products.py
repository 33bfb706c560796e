"""Products are complete or absent."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import (
    atomic_file,
    atomic_folder,
    atomic_folders,
    digest,
    read_json,
    read_product,
    record,
    remove_leftovers,
    sha256,
    verified,
    write_json,
    write_product,
)


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


def test_the_old_folder_is_whole_until_the_new_one_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, seen = tmp_path / "folder", []
    with atomic_folder(path) as temporary:
        (temporary / "old").touch()
    rename = Path.rename

    def noting(self: Path, target: Path) -> Path:
        seen.append(sorted(item.name for item in tmp_path.rglob("*") if item.is_file()))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", noting)
    with atomic_folder(path) as temporary:
        (temporary / "new").touch()
    assert seen == [["new", "old"]] * 2
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]

    def failing(self: Path, target: Path) -> Path:
        if target == path and ".old." not in self.name:
            raise OSError("not now")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="not now"), atomic_folder(path) as temporary:
        (temporary / "newer").touch()
    assert [item.name for item in path.iterdir()] == ["new"]
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]


def test_folders_are_put_in_place_together_the_first_one_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    models, reports = tmp_path / "models", tmp_path / "reports"
    rename, placed = Path.rename, []

    def write(text: str) -> None:
        with atomic_folders(models, reports) as folders:
            for folder in folders:
                (folder / text).touch()

    def noting(self: Path, target: Path) -> Path:
        placed.append(target)
        return rename(self, target)

    def failing(self: Path, target: Path) -> Path:
        if target == reports and ".old." not in self.name:
            raise OSError("not now")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", noting)
        write("old")
    assert placed == [models, reports]
    with monkeypatch.context() as patch, pytest.raises(OSError, match="not now"):
        patch.setattr(Path, "rename", failing)
        write("new")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "models",
        "models/old",
        "reports",
        "reports/old",
    ]


def test_a_process_that_is_not_wanted_any_more_puts_none_of_its_folders_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wanted = [False, True]  # popped from the end; dvc dies while this process writes, and is checked for each time

    def end() -> None:
        if not wanted.pop():
            raise SystemExit(1)

    monkeypatch.setattr("ssl_pipeline.products.end_if_orphaned", end)
    with atomic_folders(tmp_path / "models", tmp_path / "reports"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "reports"]
    assert wanted == [False]  # checked once for both folders


def test_an_old_folder_that_cannot_be_deleted_does_not_keep_the_new_one_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "folder"
    with atomic_folder(path) as temporary:
        (temporary / "old").touch()
    with monkeypatch.context() as patch, atomic_folder(path) as temporary:
        (temporary / "new").touch()
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # as if a file in the old folder were open elsewhere
    assert [item.name for item in path.iterdir()] == ["new"]
    remove_leftovers([tmp_path])
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]


def test_a_link_to_a_product_is_replaced_and_what_it_leads_to_is_left_alone(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").touch()
    (tmp_path / "folder").symlink_to("elsewhere")
    (tmp_path / ".folder.1.tmp").symlink_to("elsewhere")
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "new").touch()
    remove_leftovers([tmp_path])
    assert sorted(item.relative_to(tmp_path).as_posix() for item in tmp_path.rglob("*")) == [
        "elsewhere",
        "elsewhere/precious",
        "folder",
        "folder/new",
    ]


@pytest.mark.parametrize("content", [b"{", b"[]", b"3", b'{"a": 1}', b"\xff\xfe", b"[" * 10**5])
def test_damaged_digests_are_begun_anew(tmp_path: Path, content: bytes):
    write_product(tmp_path / "old.json", 1)
    (tmp_path / "digests.json").write_bytes(content)
    write_product(tmp_path / "new.json", 2)
    assert read_product(tmp_path / "new.json", "export") == 2
    with pytest.raises(PipelineError, match="old.json is damaged"):
        read_product(tmp_path / "old.json", "export")


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


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def swap(path: Path) -> None:
    other = path.with_name("two.json" if path.name == "one.json" else "one.json")
    other.rename(path.with_name("third"))
    path.rename(other)
    path.with_name("third").rename(path)


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["one.json", "two.json", "digests.json"])
@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink, swap, make_a_folder])
def test_a_product_that_is_not_what_was_written_is_told_and_not_used(
    damage: Callable[[Path], None], name: str, tmp_path: Path
):
    write_product(tmp_path / "one.json", {"a": 1})
    write_product(tmp_path / "two.json", {"b": 2})
    assert read_product(tmp_path / "one.json", "export") == {"a": 1}
    assert verified(tmp_path / "two.json", "export") == tmp_path / "two.json"
    damage(tmp_path / name)
    with pytest.raises(PipelineError, match=r"(damaged|cannot be read|does not exist).*dvc repro (--force )?export"):
        for path in ("one.json", "two.json"):
            read_product(tmp_path / path, "export")


def test_a_file_without_a_digest_is_not_used(tmp_path: Path):
    write_product(tmp_path / "one.json", 1)
    write_json(tmp_path / "two.json", 2)
    with pytest.raises(
        PipelineError, match="two.json is damaged .its digest differs from the one that the stage 'export'"
    ):
        verified(tmp_path / "two.json", "export")
    record(tmp_path / "two.json")
    assert read_product(tmp_path / "two.json", "export") == 2
    assert read_product(tmp_path / "one.json", "export") == 1


def test_json_that_is_no_text_is_damaged(tmp_path: Path):
    (tmp_path / "a.json").write_bytes(b"\xff")
    (tmp_path / "b.json").write_text("[" * 100_000)
    for name in ("a.json", "b.json"):
        with pytest.raises(PipelineError, match="damaged"):
            read_json(tmp_path / name, "export")


def test_of_what_lies_beside_a_file_only_its_own_leftovers_are_removed(tmp_path: Path):
    for name in (".plugins.lock.12.tmp", ".theirs.12.tmp", "plugins.lock"):
        (tmp_path / name).touch()
    remove_leftovers([], [tmp_path / "plugins.lock"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".theirs.12.tmp", "plugins.lock"]
