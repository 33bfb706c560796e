"""The inventory notices each change that `ingest` would see and no other, without a hang or a traceback."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssl_pipeline.config import Choice
from ssl_pipeline.data.inventory import refresh, unchanged
from ssl_pipeline.data.source import Images
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.loading import load_source
from ssl_pipeline.products import read_json
from ssl_pipeline_plugins.sources.folder import Folder
from ssl_pipeline_plugins.sources.torchvision import Torchvision

Refresh = Callable[..., str]


@pytest.fixture
def pile(tmp_path: Path) -> Path:
    """Write six files: a table, and five images in two folders, one of which is a link."""
    for name in ("pile/cat/1.png", "pile/cat/2.png", "elsewhere/3.png", "elsewhere/4.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "pile" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pile" / "labels.csv").write_text("path,label\ncat/1.png,cat\n")
    return tmp_path / "pile"


@pytest.fixture
def again(tmp_path: Path, pile: Path) -> Refresh:
    """Return a function of options that refreshes the inventory and returns the line for the user."""

    def run(**options: Any) -> str:
        choice = Choice.model_validate({"name": "folder", "path": str(pile)} | options)
        return refresh(
            load_source(choice), choice.model_dump(), tmp_path / "inventory.json", tmp_path / "hashes.sqlite"
        )

    return run


def files(tmp_path: Path) -> dict[str, str]:
    found: dict[str, str] = read_json(tmp_path / "inventory.json", "inventory")["files"]
    return found


def test_every_change_is_seen_through_links_too(tmp_path: Path, pile: Path, again: Refresh) -> None:
    assert again() == "5 files"
    assert list(files(tmp_path)) == ["cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png", "labels.csv"]
    (pile / "cat" / "5.png").write_text("new")
    (pile / "cat" / "1.png").unlink()
    (tmp_path / "elsewhere" / "3.png").write_text("elsewhere/9.png")  # the size stays the same
    (pile / "labels.csv").write_text("path,label\ncat/2.png,cat\n")
    assert again() == "5 files, 1 new, 2 changed, 1 gone"
    (pile / ".dvc").mkdir()  # for DVC, this makes the folder another project
    (pile / "cat" / "2.png").unlink()
    assert again() == "4 files, 1 gone"


def test_what_is_no_change_leaves_the_file_untouched(tmp_path: Path, pile: Path, again: Refresh) -> None:
    again()
    before = (tmp_path / "inventory.json").stat()
    for path in pile.rglob("*"):
        os.utime(path, (10**9, 10**9))
    (pile / "notes.txt").write_text("no image, and no table")
    (pile / ".cache").mkdir()
    (pile / ".cache" / "1.png").touch()
    assert again() == "5 files"
    assert os.path.samestat((tmp_path / "inventory.json").stat(), before)


def test_what_cannot_be_read_is_listed_and_not_waited_for(tmp_path: Path, pile: Path, again: Refresh) -> None:
    (pile / "cat" / "gone.png").symlink_to("/nowhere/photo.jpg")
    (pile / "cat" / "round").symlink_to(pile)
    os.mkfifo(pile / "cat" / "pipe.png")
    (pile / "labels.csv").unlink()
    os.mkfifo(pile / "labels.csv")
    Path(os.fsdecode(os.fsencode(pile) + b"/cat/caf\xe9.png")).touch()
    again()
    unreadable = {name: line for name, line in files(tmp_path).items() if line.startswith("unreadable")}
    assert unreadable.keys() == {"cat/gone.png", "cat/round", "cat/pipe.png", "cat/caf\\xe9.png", "labels.csv"}
    assert unreadable["labels.csv"] == "unreadable: not a regular file"
    (pile / "cat" / "gone.png").unlink()
    assert again().endswith(", 1 gone")


def test_an_archive_counts_as_it_is(tmp_path: Path, again: Refresh) -> None:
    archive = tmp_path / "pile.zip"
    for number in (1, 2):
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("1.png", str(number))
        line = again(path=str(archive))
    assert line == "1 file, 1 changed"
    assert list(files(tmp_path)) == ["pile.zip"]


def test_an_inventory_outlives_its_source_but_not_another_one(tmp_path: Path, pile: Path, again: Refresh) -> None:
    again()
    before = (tmp_path / "inventory.json").read_bytes()
    shutil.rmtree(pile)
    assert again() == f"{pile} is not available here: the inventory of its 5 files is kept unchanged."
    assert (tmp_path / "inventory.json").read_bytes() == before
    with pytest.raises(
        ConfigError, match=r"nowhere does not exist.* is missing too: run `dvc checkout`, or `dvc pull`"
    ):
        again(path="nowhere")
    pile.mkdir()  # may be the mount point of a missing disk, so nothing is discarded
    with pytest.raises(PipelineError, match="no images found in"):
        again()
    assert (tmp_path / "inventory.json").read_bytes() == before


def test_paths_as_people_write_them(
    tmp_path: Path, pile: Path, again: Refresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert again(path="~/pile") == "5 files"
    os.mkfifo(tmp_path / "pipe")
    for path, message in {
        2024: 'YAML reads this as 2024, .*quotes, such as path: "2024"',
        "": "the path is empty",
        "~nobody_at_all/x": "cannot be looked up",
        "x" * 5000: "cannot be looked up",
        str(tmp_path / "pipe"): "neither a directory nor a file, but a pipe",
        "/dev/null": "but a device",
    }.items():
        with pytest.raises(ConfigError, match=f"ingest.source.path: .*{message}") as caught:
            again(path=path)
        assert len(str(caught.value)) < 500
    monkeypatch.chdir(pile / "cat")
    with pytest.raises(ConfigError, match="contains products of this project"):
        again(path="..")


@pytest.mark.parametrize("name", ["folder", "torchvision"])
@pytest.mark.parametrize("path", ["data", "data/ingested/store", "models", "reports/ingest", ".work", ".", "link"])
def test_products_are_nobody_s_images(
    tmp_path: Path, again: Refresh, path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the preview of one run would become training data of the next."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("data")
    (tmp_path / "data" / "augmented").mkdir(parents=True)
    (tmp_path / "data" / "augmented" / "preview.png").touch()
    options = {"dataset": "CIFAR10"} if name == "torchvision" else {}
    with pytest.raises(ConfigError, match=rf"ingest.source.path: {path} contains products .* directory of their own"):
        again(name=name, path=path, **options)


def test_images_beside_products_are_as_good_as_any(
    tmp_path: Path, pile: Path, again: Refresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    pile.rename(tmp_path / "data" / "pile")
    assert again(path="data/pile") == "5 files"


def test_digits_have_no_files_and_no_need_of_a_path(tmp_path: Path, again: Refresh) -> None:
    assert again(name="digits", path="nowhere") == "the source reads no files"
    assert read_json(tmp_path / "inventory.json", "inventory")["source"] == {"name": "digits", "path": "nowhere"}


def test_what_torchvision_downloads_is_there_before_it_is_listed(
    tmp_path: Path, again: Refresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = []

    def download(source: Torchvision) -> Images:
        downloads.append(source.dataset)
        Path(source.path).mkdir(exist_ok=True)
        Path(source.path, "labels.mat").touch()
        return Images([], lambda path, limit: b"")

    monkeypatch.setattr(Torchvision, "open", download)
    data = {"name": "torchvision", "path": str(tmp_path / "data"), "dataset": "SVHN"}
    assert [again(**data), again(**data)] == ["1 file", "1 file"]
    assert downloads == ["SVHN"]


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path: Path, pile: Path, again: Refresh) -> None:
    choice = {"name": "folder", "path": str(pile)}
    arguments = (Folder(path=str(pile)), choice, tmp_path / "inventory.json", tmp_path / "hashes.sqlite")
    with unchanged(*arguments):  # there is no inventory to compare with yet
        (pile / "cat" / "1.png").write_text("other")
    again()
    with unchanged(*arguments):
        pass
    with (
        pytest.raises(PipelineError, match=r"changed while ingest read them \(cat/1.png\)\. Run `dvc repro`"),
        unchanged(*arguments),
    ):
        (pile / "cat" / "1.png").write_text("third")
    with (
        pytest.raises(PipelineError, match=r"no longer matches .*inventory.json \(cat/1.png\)\. "),
        unchanged(*arguments),
    ):
        pytest.fail("the block must not be entered")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"{}", b'{"source": {}}', b'{"source": {}, "files": [1]}', b"\xff\xfe", b"[" * 10**5],
)
def test_a_damaged_inventory_is_told_and_made_anew(tmp_path: Path, pile: Path, again: Refresh, content: bytes) -> None:
    choice = {"name": "folder", "path": str(pile)}
    arguments = (Folder(path=str(pile)), choice, tmp_path / "inventory.json", tmp_path / "hashes.sqlite")
    (tmp_path / "inventory.json").write_bytes(content)
    with pytest.raises(PipelineError, match="is damaged: run `dvc repro --force inventory`"), unchanged(*arguments):
        pytest.fail("the block must not be entered")
    assert again() == "5 files"
    with unchanged(*arguments):
        assert len(files(tmp_path)) == 5


def test_a_folder_in_the_place_of_the_inventory_is_told(tmp_path: Path, again: Refresh) -> None:
    (tmp_path / "inventory.json").mkdir()
    with pytest.raises(PipelineError, match=r"inventory.json cannot be read \(Is a directory\): remove it"):
        again()


def test_names_in_a_message_are_short_and_harmless(tmp_path: Path, pile: Path, again: Refresh) -> None:
    choice = {"name": "folder", "path": str(pile)}
    arguments = (Folder(path=str(pile)), choice, tmp_path / "inventory.json", tmp_path / "hashes.sqlite")
    again()
    (pile / ("\x1b[31m" + "a" * 200 + ".png")).touch()
    with pytest.raises(PipelineError, match=r"\(\\x1b\[31ma+ … a+\.png\)") as caught, unchanged(*arguments):
        pass
    assert len(str(caught.value)) < 400
