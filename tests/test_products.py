"""Products are whole or not there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import (
    atomic_file,
    atomic_folder,
    digest,
    read_json,
    read_product,
    record,
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
    with pytest.raises(PipelineError, match="two.json is damaged .it is not what the stage 'export' wrote"):
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
