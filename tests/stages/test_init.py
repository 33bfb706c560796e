"""`init` makes a project that needs no edits, and reports each mistake in a sentence without writing anything."""

import functools
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from ssl_pipeline.config import load
from ssl_pipeline.planning import costs
from ssl_pipeline.planning.machine import Speed
from ssl_pipeline.planning.params_file import read_record
from ssl_pipeline_stages import code, fitting
from ssl_pipeline_stages.init import TEMPLATES, init
from tests.factories import digit_images

PROJECT = {".dvc", ".dvcignore", ".git", ".gitignore", "README.md", "dvc.yaml", "my_plugins", "params.yaml"}
PROJECT |= {"plan.json", "plugins.lock"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(costs, "TRIAL_SECONDS", 0.01)


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the measurement of the machine."""
    measured = functools.partial(fitting.propose, measure=lambda *_: Speed(1000.0, 1e5))
    monkeypatch.setattr(fitting, "propose", measured)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(init, arguments)


def begun(*arguments: str) -> str:
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    return done.output


def digits(folder: str, count: int = 8) -> None:
    Path(folder).mkdir(parents=True)
    for number, image in enumerate(digit_images(count)):
        Image.fromarray(image).resize((20, 20)).save(Path(folder, f"{number}.png"))


def git(*words: str, folder: str = ".") -> list[str]:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_project_is_fitted_to_its_images_and_ready_to_be_committed():
    digits("pile of scans/zero")
    Path("my labels.csv").write_text("path,label,split\n" + "".join(f"zero/{i}.png,{i % 2},\n" for i in range(8)))
    said = begun("odd name", "--images", "pile of scans", "--labels", "my labels.csv", "--hours", "0.1")
    assert "Images: 8, of which 8 are labelled, in 2 classes." in said
    assert "Next: cd 'odd name' && dvc repro" in said
    assert {path.name for path in Path("odd name").iterdir()} == PROJECT
    git("add", "--all", folder="odd name")
    tracked = {name.split("/")[0] for name in git("ls-files", folder="odd name")}
    assert tracked == PROJECT - {".git"}
    os.chdir("odd name")
    config = load(Path("params.yaml"))
    assert config.ingest.source.model_dump() == {
        "name": "folder",
        "path": "../pile of scans",
        "labels": "../my labels.csv",
    }
    assert {record.label for record in code.source(config).open().records} == {"0", "1"}
    assert "# folder: a directory or .zip of images" in Path("params.yaml").read_text()
    readme = Path("README.md").read_text()
    assert len(readme.splitlines()) <= 20
    assert "# odd name" in readme
    assert "`../pile of scans`" in readme
    assert "no_scm" not in Path(".dvc/config").read_text()


def test_without_images_settings_are_those_of_photographs_and_a_plan_may_replace_them():
    said = begun("shop")
    assert "put images into shop/images, then cd shop && ssl-pipeline plan && dvc repro" in said
    os.chdir("shop")
    config = load(Path("params.yaml"))
    assert config.ingest.source.model_dump() == {"name": "folder", "path": "images"}
    assert config.augment.views["global"].size == 64
    assert read_record(Path())["pretrain.epochs"] == config.pretrain.epochs
    assert list(Path("images").iterdir()) == []


@pytest.mark.usefixtures("untimed")
def test_a_folder_is_begun_from_inside_with_images_that_lie_in_it():
    digits("shop/photos/2024")
    os.chdir("shop")
    said = begun(".", "--images", "photos")
    assert said.splitlines()[-1] == "Next: dvc repro"
    assert load(Path("params.yaml")).ingest.source.options == {"path": "photos"}
    git("add", "--all")
    assert not any(name.startswith("photos") for name in git("ls-files"))


@pytest.mark.usefixtures("untimed")
def test_images_in_the_usual_place_need_no_word():
    digits("shop/images")
    said = begun("shop")
    assert said.startswith("Looking at a sample of the images")  # before the seconds that this takes
    assert "Images: 8, without labels." in said
    assert load(Path("shop/params.yaml")).ingest.source.options == {"path": "images"}


def test_inside_a_repository_there_is_no_second_one_and_its_index_stays_as_it_is():
    git("init", "--quiet")
    begun("shop")
    assert not Path("shop/.git").exists()
    assert git("ls-files") == []
    git("add", "--all")
    assert {name.split("/")[1] for name in git("ls-files")} == PROJECT - {".git"}


def test_without_git_dvc_works_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    begun("deep/shop")
    assert not Path("deep/shop/.git").exists()
    assert "no_scm = true" in Path("deep/shop/.dvc/config").read_text()


def broken() -> list[str]:
    Path("pile").mkdir()
    Path("pile/1.png").write_bytes(b"no image")
    return ["--images", "pile"]


def empty() -> list[str]:
    Path("pile").mkdir()
    return ["--images", "pile"]


def no_zip() -> list[str]:
    Path("pile.zip").write_bytes(b"PK no archive")
    return ["--images", "pile.zip"]


def empty_zip() -> list[str]:
    zipfile.ZipFile("pile.zip", "w").close()
    return ["--images", "pile.zip"]


def around() -> list[str]:
    digits("deep")
    return ["--images", "deep"]


def wrong_label() -> list[str]:
    digits("pile")
    Path("labels.csv").write_text("path,label\nnowhere.png,cat\n")
    return ["--images", "pile", "--labels", "labels.csv"]


def folder_of_labels() -> list[str]:
    digits("pile")
    return ["--images", "pile", "--labels", "pile"]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda: ["--images", "nowhere"], "--images: there is no 'nowhere'"),
        (lambda: ["--labels", "table.csv"], "also name them with --images"),
        (empty, "no images found in"),
        (broken, "none of the 1 images tried is usable"),
        (no_zip, "neither a directory nor a complete .zip"),
        (empty_zip, "no images found in"),
        (wrong_label, "labels.csv, line 2: there is no image 'nowhere.png'. Paths are relative to the folder of the"),
        (folder_of_labels, "is not a file: name a CSV file"),
        (lambda: ["--images", "."], "contains products of this project"),
        (around, "contains products of this project"),
    ],
)
def test_a_mistake_has_its_sentence_and_leaves_nothing(prepare: Callable[[], list[str]], message: str):
    arguments = prepare()
    before = sorted(Path().rglob("*"))
    done = run("deep/shop", *arguments)
    assert done.exit_code in (1, 2), done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert done.output.splitlines()[-1].startswith("error: ")
    assert message in done.output
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(("name", "message"), [("file", "is a file"), ("clone", "has dvc.yaml, params.yaml already")])
def test_nothing_is_overwritten(name: str, message: str):
    Path("file").touch()
    Path("clone").mkdir()
    for file in ("dvc.yaml", "params.yaml"):
        Path("clone", file).touch()
    done = run(name)
    assert done.exit_code == 1
    assert message in done.output
    assert sorted(path.name for path in Path("clone").iterdir()) == ["dvc.yaml", "params.yaml"]


def test_the_templates_are_there():
    assert {path.name for path in TEMPLATES.iterdir()} == {
        "README.md",
        "dvc.yaml",
        "dvcignore",
        "gitignore",
        "params.yaml",
        "plugin",
    }


def test_folders_of_frames_are_recognised(untimed: None) -> None:
    for clip, shade in {"a": 0, "b": 120, "c": 240}.items():
        Path("frames", clip).mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (20, 20), (shade, 40 * number, 10 * number)).save(Path("frames", clip, f"{number}.png"))
    said = begun("road", "--images", "frames", "--hours", "0.1")
    assert "frames of 3 clips" in said
    assert "folders are read as clips of one frame per second. Set ingest.source.fps" in said
    config = load(Path("road/params.yaml"))
    assert config.ingest.source.model_dump() == {"name": "clips", "path": "../frames"}


def test_captions_and_shards_are_recognised(untimed: None) -> None:
    digits("images", 12)
    for number in range(12):
        Path("images", f"{number}.txt").write_text(f"the digit in line {number}", encoding="utf-8")
    with tarfile.open("0.tar", "w") as shard:
        for path in sorted(Path("images").iterdir()):
            shard.add(path, path.name)
    for images, source in (("images", "folder"), ("0.tar", "webdataset")):
        said = begun(f"of {source}", "--images", images, "--hours", "0.1")
        assert "12, without labels; all have captions." in said
        assert ", clip, " in said
        config = load(Path(f"of {source}/params.yaml"))
        assert (config.ingest.source.name, config.pretrain.recipe) == (source, "clip")
    Path("labels.csv").write_text("path,label\n", encoding="utf-8")
    refused = run("other", "--images", "0.tar", "--labels", "labels.csv")
    assert (refused.exit_code, "shards of a WebDataset contain their labels" in refused.output) == (1, True)
