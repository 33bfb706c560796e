"""The store: what is written is what is read, shard by shard; damage is distinguished from data."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ssl_pipeline import products
from ssl_pipeline.data import writer
from ssl_pipeline.data.labels import read_labels, write_labels
from ssl_pipeline.data.store import (
    IndexRow,
    Original,
    open_split,
    read_originals,
)
from ssl_pipeline.data.writer import write_originals, write_split
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import record

IMAGES: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (23, 8, 8, 3), np.uint8)
IDS = np.arange(23, dtype=np.uint64) * np.uint64(2**59) + np.uint64(1)


def written(store: Path, *blocks: int) -> Path:
    write_split(store / "train", IDS, np.split(IMAGES, np.cumsum(blocks)), 8)
    return store


@pytest.fixture
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SHARD_BYTES", 5 * 8 * 8 * 3)


@pytest.mark.usefixtures("_small_shards")
def test_images_are_gathered_from_bounded_shards(tmp_path: Path) -> None:
    split = open_split(written(tmp_path, 7, 9), "train")
    assert [len(shard) for shard in split.shards] == [5, 5, 5, 5, 3]
    assert (split.name, split.canvas, len(split)) == ("train", 8, 23)
    np.testing.assert_array_equal(split.ids, IDS)
    for positions in ([22, 0, 4, 5, 5, 19], [], range(23)):
        found = split.images(np.array(positions, np.int64))
        np.testing.assert_array_equal(found, IMAGES[list(positions)])
    for position in (-1, 23):
        with pytest.raises(IndexError, match=r"positions must lie in \[0, 23\)"):
            split.images(np.array([0, position]))


@pytest.mark.usefixtures("_small_shards")
def test_statistics_are_exact_and_do_not_depend_on_blocks(tmp_path: Path) -> None:
    one, other = (
        open_split(written(tmp_path / "one", 23), "train"),
        open_split(written(tmp_path / "other", 1, 13), "train"),
    )
    pixels = IMAGES.reshape(-1, 3).astype(np.float64) / 255
    np.testing.assert_allclose(one.mean, pixels.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(one.std, pixels.std(axis=0), rtol=1e-14)
    assert (one.mean, one.std, one.sha256) == (other.mean, other.std, other.sha256)


def test_the_hash_tells_stores_apart(tmp_path: Path) -> None:
    first = open_split(written(tmp_path / "a"), "train").sha256
    changed = IMAGES.copy()
    changed[22, 7, 7, 2] ^= 1
    write_split(tmp_path / "b" / "train", IDS, [changed], 8)
    write_split(tmp_path / "c" / "train", IDS + np.uint64(1), [IMAGES], 8)
    assert len({first, open_split(tmp_path / "b", "train").sha256, open_split(tmp_path / "c", "train").sha256}) == 3


def test_how_images_differ_is_measured(tmp_path: Path) -> None:
    images = IMAGES.copy()
    images[3] = (10, 200, 90)
    images[5] = np.random.default_rng(1).integers(100, 109, (8, 8, 3))
    summary = write_split(tmp_path / "train", IDS, [images[:4], images[4:]], 8)
    assert summary.flat == [3, 5]
    assert summary.spread == pytest.approx(np.sqrt(images.astype(np.float64).var(axis=0).mean()))
    alike = write_split(tmp_path / "alike", IDS, [np.repeat(IMAGES[:1], 23, axis=0)], 8)
    assert alike.spread == pytest.approx(0.0, abs=1e-6)


def test_an_empty_split(tmp_path: Path) -> None:
    write_split(tmp_path / "test", np.array([], np.uint64), [], 8)
    split = open_split(tmp_path, "test")
    assert len(split) == 0
    assert split.images(np.array([], np.int64)).shape == (0, 8, 8, 3)
    assert sorted(path.name for path in (tmp_path / "test").iterdir()) == ["digests.json", "ids.npy", "split.json"]


def test_a_missing_store_names_the_stage(tmp_path: Path) -> None:
    for read in (
        lambda: open_split(tmp_path, "val"),
        lambda: read_labels(tmp_path, "val"),
        lambda: read_originals(tmp_path),
    ):
        with pytest.raises(PipelineError, match=r"does not exist: the stage 'ingest' makes it"):
            read()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def rename(path: Path) -> None:
    path.rename(path.with_suffix(".gone"))


def unclose(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b"}", b" ", 1))  # the closing brace of the header


@pytest.mark.usefixtures("_small_shards")
@pytest.mark.parametrize("damage", [cut, rename, unclose])
@pytest.mark.parametrize("name", ["images-0000.npy", "images-0004.npy", "ids.npy"])
def test_damage_is_noticed(damage, name: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    damage(written(tmp_path) / "train" / name)
    with pytest.raises(PipelineError, match=r"train.*(is damaged .*dvc repro --force ingest|does not exist)"):
        open_split(tmp_path, "train")


@pytest.mark.usefixtures("_small_shards")
def test_a_shard_is_read_whole_once_before_its_first_image_is_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path) / "train" / "images-0001.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # one bit of the last pixel
    path.write_bytes(content)
    read: list[str] = []
    whole = products.sha256
    monkeypatch.setattr(products, "sha256", lambda path: read.append(path.name) or whole(path))
    split = open_split(tmp_path, "train")
    assert read == ["split.json", "ids.npy"]
    for position in (0, 4, 22, 0):
        split.images(np.array([position]))
    open_split(tmp_path, "train").images(np.array([1, 21]))
    assert read[2:] == ["images-0000.npy", "images-0004.npy"]
    for _ in range(2):
        with pytest.raises(PipelineError, match=r"images-0001.npy is damaged .its digest differs"):
            split.images(np.array([0, 5]))


def test_another_shape_or_type_is_noticed(tmp_path: Path) -> None:
    written(tmp_path)
    np.save(tmp_path / "train" / "images-0000.npy", IMAGES.astype(np.int64))
    with pytest.raises(PipelineError, match="do not match"):
        open_split(tmp_path, "train")
    np.save(tmp_path / "train" / "images-0000.npy", IMAGES[:, :4])
    with pytest.raises(PipelineError, match="do not match"):
        open_split(tmp_path, "train")
    (tmp_path / "train" / "split.json").write_text("{}")
    with pytest.raises(PipelineError, match="damaged"):
        open_split(tmp_path, "train")


ROWS = [
    IndexRow("aa", 'odd, "name"\nof a file.png', "dog", "train", "", 30, 40, 0),
    IndexRow("bb", "2.png", "", "train", "g", 30, 40, 1),
    IndexRow("cc", "3.png", "an\udce9t\x00", "test", "", 30, 40, 0),
]


def test_classes_mean_the_same_in_every_split(tmp_path: Path) -> None:
    write_labels(tmp_path, reversed(ROWS))
    for split, expected in (("train", [1, -1]), ("val", []), ("test", [0])):
        classes, labels, groups = read_labels(tmp_path, split)  # type: ignore[arg-type]
        assert classes == ("an\udce9t\x00", "dog")
        assert labels.dtype == groups.dtype == np.int64
        assert labels.tolist() == expected
        assert len(groups) == len(expected)


def test_groups_are_numbered_and_an_image_without_one_is_alone(tmp_path: Path) -> None:
    groups = ["g", "", "h", "g", ""]
    write_labels(
        tmp_path, [IndexRow(f"{n}", f"{n}.png", "", "train", group, 8, 8, n) for n, group in enumerate(groups)]
    )
    first, alone, second, again, alone_too = read_labels(tmp_path, "train").groups
    assert first == again
    assert len({first, alone, second, alone_too}) == 4


@pytest.mark.parametrize("missing", ["classes", "val_labels", "val_groups", "all"])
def test_damaged_labels_are_noticed(missing: str, tmp_path: Path) -> None:
    write_labels(tmp_path, ROWS)
    path = tmp_path / "labels.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != missing}
    np.savez(path, **arrays)
    if missing == "all":
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        PipelineError, match="labels.npz is damaged .its digest differs from the one that the stage 'ingest'"
    ):
        read_labels(tmp_path, "val")
    record(path)
    with pytest.raises(PipelineError, match=r"labels.npz is damaged .*dvc repro --force ingest"):
        read_labels(tmp_path, "val")


def test_a_store_of_an_earlier_version_is_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("id,path,label,split,group,width,height,row\n")
    with pytest.raises(PipelineError, match=r"earlier version, which kept labels only in index.csv.*force ingest"):
        read_labels(tmp_path, "train")


def test_originals_keep_their_shapes_and_places(tmp_path: Path) -> None:
    originals = [Original(IMAGES[0, :5], "train", 7), Original(IMAGES[1, :, :3], "val", 0)]
    write_originals(tmp_path, originals)
    once = (tmp_path / "originals.npz").read_bytes()
    for found, expected in zip(read_originals(tmp_path), originals, strict=True):
        np.testing.assert_array_equal(found.image, expected.image)
        assert found[1:] == expected[1:]
    write_originals(tmp_path, originals)
    assert (tmp_path / "originals.npz").read_bytes() == once
    cut(tmp_path / "originals.npz")
    for _ in range(2):
        with pytest.raises(PipelineError, match="originals.npz is damaged"):
            read_originals(tmp_path)
        record(tmp_path / "originals.npz")
