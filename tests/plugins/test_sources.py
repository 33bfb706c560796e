"""Sources: digits, folders, archives, torchvision's data sets, and the messages about mistakes in their options."""

import gzip
import io
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ssl_pipeline.config import Choice
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.source import Images
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.loading import load_registry, load_source
from ssl_pipeline.testing import check_source
from ssl_pipeline_plugins.sources.clips import Clips
from ssl_pipeline_plugins.sources.digits import Digits
from ssl_pipeline_plugins.sources.folder import Folder
from ssl_pipeline_plugins.sources.torchvision import Torchvision
from ssl_pipeline_plugins.sources.webdataset import WebDataset

LIMIT = 10**6


def open_source(name: str, options: dict[str, Any]) -> Images:
    return load_source(Choice(name=name, **options)).open()


@pytest.fixture
def pile(tmp_path: Path) -> Path:
    """Two classes of two images each."""
    for number in range(4):
        path = tmp_path / "pile" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), number).save(path)
    return tmp_path / "pile"


def test_every_built_in_is_checked_here() -> None:
    entries = [entry for entry in load_registry().entries() if entry.kind == "source"]
    assert [entry.factory for entry in entries if entry.distribution == "ssl-pipeline"] == [
        Clips,
        Digits,
        Folder,
        Torchvision,
        WebDataset,
    ]


def test_digits_are_as_promised() -> None:
    check_source(Digits)


def test_a_folder_is_as_promised(pile: Path) -> None:
    check_source(Folder, path=str(pile), change=lambda: (pile / "a" / "0.png").unlink())
    check_source(Folder, path=str(pile), change=lambda: (pile / "labels.csv").write_text("path,label\n"))


def test_a_table_of_labels_may_lie_elsewhere(pile: Path, tmp_path: Path) -> None:
    plain = Folder(path=str(pile)).open()
    names = [record.path for record in plain.records]
    table = tmp_path / "elsewhere.csv"
    table.write_text(f"path,label,group\n{names[0]},ours,g\n")

    def change() -> None:
        table.write_text(f"path,label\n{names[0]},other\n")

    source = Folder(path=str(pile), labels=str(table))
    assert [(record.label, record.group) for record in source.open().records] == [("ours", "g")] + [(None, None)] * 3
    check_source(Folder, path=str(pile), labels=str(table), change=change)
    assert "ingest.source.labels" in source.files().others
    table.unlink()
    for look in (source.open, source.files):
        with pytest.raises(ConfigError, match=r"ingest\.source\.labels: .* cannot be read \(No such file"):
            look()


def test_paths_of_a_table_elsewhere_may_begin_in_the_one_folder_that_holds_all(pile: Path, tmp_path: Path) -> None:
    (tmp_path / "around").mkdir()
    pile.rename(tmp_path / "around" / "pile")
    names = [record.path for record in Folder(path=str(tmp_path / "around")).open().records]
    for name in (names[0], names[0].removeprefix("pile/")):
        (tmp_path / "table.csv").write_text(f"path,label\n{name},ours\n")
        found = Folder(path=str(tmp_path / "around"), labels=str(tmp_path / "table.csv")).open().records
        assert [record.label for record in found] == ["ours", None, None, None]


def test_an_archive_is_as_promised(pile: Path, tmp_path: Path) -> None:
    path = shutil.make_archive(str(tmp_path / "pile"), "zip", pile)
    (pile / "a" / "0.png").unlink()
    check_source(Folder, path=path, change=lambda: shutil.make_archive(str(tmp_path / "pile"), "zip", pile))


def test_a_data_set_of_torchvision_is_as_promised(pile: Path) -> None:
    options = {"path": str(pile), "dataset": "ImageFolder"}
    check_source(Torchvision, **options, change=lambda: Image.new("L", (9, 9)).save(pile / "b" / "9.png"))


def test_digits_are_scikit_learns() -> None:
    source = open_source("digits", {"path": "anything"})
    data = load_digits()
    assert [record.label for record in source.records] == [str(label) for label in data.target]
    image = source.read(source.records[7].path, LIMIT)
    np.testing.assert_allclose(np.asarray(image), data.images[7] * 255 / 16, atol=0.5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "folders",
            {},
            r"ingest.source: unknown name 'folders'. Did you mean 'folder'\?\nKnown: clips, digits, folder, ",
        ),
        ("folder", {}, r"ingest.source.path: missing"),
        ("folder", {"path": 3}, r'ingest.source.path: YAML reads this as 3, .*quotes, such as path: "2024"'),
        (
            "folder",
            {"path": "x", "pathh": "y"},
            r"ingest.source.pathh: unknown key. Did you mean 'path'\? \(source 'folder'\)",
        ),
        ("torchvision", {"path": "x", "dataset": "CIFAR11"}, r"ingest.source.dataset: .*Did you mean 'CIFAR10'"),
        (
            "torchvision",
            {"path": "x", "dataset": "wrap_dataset_for_transforms_v2"},
            r"ingest.source.dataset: .* no data set",
        ),
        (
            "torchvision",
            {"path": "x", "dataset": "FakeData", "options": {"sizes": 3}},
            r"ingest.source.options: FakeData",
        ),
        (
            "torchvision",
            {"path": "x", "dataset": "EMNIST", "options": {"split": "z"}},
            r"ingest.source.options: EMNIST",
        ),
    ],
)
def test_mistakes_in_the_parameters_are_named_by_key(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_source(name, options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("\x1b[31m" * 10**5, {}),
        ("folder", {"path": ["x" * 10**6]}),
        ("folder", {"path": "x", "\x1by" * 10**6: 1}),
        ("torchvision", {"path": "x", "dataset": "X\n" * 10**5}),
        ("torchvision", {"path": "x", "dataset": "FakeData", "options": {"y" * 10**6: 3}}),
    ],
)
def test_messages_are_short_and_harmless_whatever_is_written(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        open_source(name, options)
    assert len(str(caught.value)) < 3000  # torchvision has about a hundred data sets to list
    assert str(caught.value).replace("\n", "").isprintable()


def write_mnist(root: Path) -> Path:
    """Write three training and two test images of 28 x 28 in MNIST's own format."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, labels in {"train": [3, 1, 4], "t10k": [1, 5]}.items():
        pixels = np.arange(len(labels) * 784, dtype=np.uint32).astype(np.uint8)
        images = struct.pack(">4I", 2051, len(labels), 28, 28) + pixels.tobytes()
        numbers = struct.pack(">2I", 2049, len(labels)) + bytes(labels)
        for name, content in {"images-idx3": images, "labels-idx1": numbers}.items():
            (raw / f"{part}-{name}-ubyte").write_bytes(content)
            (raw / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(content))
    return root


def test_torchvisions_train_and_test(tmp_path: Path) -> None:
    source = open_source("torchvision", {"path": str(write_mnist(tmp_path)), "dataset": "MNIST"})
    assert source.records == [
        Record("train/0000000", "3 - three", "train"),
        Record("train/0000001", "1 - one", "train"),
        Record("train/0000002", "4 - four", "train"),
        Record("test/0000000", "1 - one", "test"),
        Record("test/0000001", "5 - five", "test"),
    ]
    image = source.read("test/0000001", LIMIT)
    np.testing.assert_array_equal(np.asarray(image).ravel(), np.arange(784, 2 * 784).astype(np.uint8))


def test_torchvisions_named_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    class Small(datasets.FakeData):  # type: ignore[misc]
        def __init__(self, root: str, split: str = "train", download: bool = False):
            if split not in ("train", "val", "unlabeled"):
                raise ValueError(f"unknown split {split}")
            super().__init__(2, (3, 9, 9), 4)
            self.labels = [-1, -1] if split == "unlabeled" else [2, 0]
            self.classes = [("ant", "emmet"), ("bee",), ("cow",), ("doe",)]

    monkeypatch.setattr(datasets, "STL10", Small)
    source = open_source("torchvision", {"path": str(tmp_path), "dataset": "STL10"})
    assert [tuple(record[:3]) for record in source.records] == [
        ("train/0000000", "cow", "train"),
        ("train/0000001", "ant", "train"),
        ("val/0000000", "cow", "val"),
        ("val/0000001", "ant", "val"),
        ("unlabelled/0000000", None, None),
        ("unlabelled/0000001", None, None),
    ]


def test_torchvision_without_splits(tmp_path: Path) -> None:
    options = {"size": 3, "image_size": [3, 9, 12], "num_classes": 2}
    source = open_source("torchvision", {"path": str(tmp_path), "dataset": "FakeData", "options": options})
    assert [record.split for record in source.records] == [None] * 3
    assert {record.label for record in source.records} <= {"0", "1"}
    image = source.read("all/0000002", LIMIT)
    assert isinstance(image, Image.Image)
    assert image.size == (12, 9)


def test_torchvision_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.CIFAR10, "download", offline)
    with pytest.raises(PipelineError, match=r"cannot provide CIFAR10 in .*no route to host.*without a network"):
        open_source("torchvision", {"path": str(tmp_path), "dataset": "CIFAR10"})


def test_torchvisions_broken_images_are_rejects(tmp_path: Path) -> None:
    png = io.BytesIO()
    Image.new("RGB", (9, 9)).save(png, "PNG")
    for name, content in {"a/1.png": png.getvalue(), "b/2.png": b"no image"}.items():
        path = tmp_path / name
        path.parent.mkdir()
        path.write_bytes(content)
    source = open_source("torchvision", {"path": str(tmp_path), "dataset": "ImageFolder"})
    assert [record.label for record in source.records] == ["a", "b"]
    source.read("all/0000000", LIMIT)
    with pytest.raises(RejectedError, match="unreadable"):
        source.read("all/0000001", LIMIT)
