"""Damaged, hostile or oddly named members of a .zip become rejects or a clear error, and harm nothing else."""

import random
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.mutations import damage
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.source import Images
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline_plugins.sources.folder import Folder

LIMIT = 10**6


def opened(path: Path) -> Images:
    return Folder(path=str(path)).open()


def hostile_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.png", b"good")
        archive.writestr("../outside.png", b"x")
        archive.writestr("/root.png", b"x")
        archive.writestr("back\\slash.png", b"x")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("good.png", b"other")
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "good.png")
        archive.writestr("damaged.png", b"D" * 200)
        archive.writestr("locked.png", b"L" * 200)
        archive.writestr("packed.png", bytes(10**5), zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    content[content.index(b"D" * 200)] = ord("E")  # the checksum no longer matches
    directory = content.rindex(b"PK\x01\x02", 0, content.rindex(b"locked.png"))
    content[directory + 8] |= 1  # the file is marked as encrypted
    path.write_bytes(content)
    return path


def test_hostile_archives(tmp_path: Path) -> None:
    source = opened(hostile_zip(tmp_path / "pile.zip"))
    assert {record.path for record in source.records} == {"good.png", "damaged.png", "locked.png", "packed.png"}
    assert {path: reason.detail for path, reason in source.rejects.items()} == {
        "../outside.png": "its path leads out of the archive",
        "/root.png": "its path leads out of the archive",
        "back\\slash.png": "its path contains backslashes; create the archive with another program",
        "good.png (2)": "the archive contains another file with this name",
        "link.png": "a link inside an archive",
    }
    with pytest.raises(RejectedError, match=r"unreadable: in the archive: Bad CRC-32"):
        source.read("damaged.png", LIMIT)
    with pytest.raises(RejectedError, match=r"unreadable: in the archive: .*encrypted"):
        source.read("locked.png", LIMIT)
    with pytest.raises(RejectedError, match=r"too large"):  # refused by the stated size, before it is unpacked
        source.read("packed.png", 10**4)
    assert not (tmp_path / "outside.png").exists()


def packed(path: Path, files: Mapping[str, bytes]) -> bytearray:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return bytearray(path.read_bytes())


def unmarked(content: bytearray) -> bytearray:
    """Return the same archive without the flag for UTF-8 names, which many programs do not set."""
    for signature, place in ((b"PK\x01\x02", 9), (b"PK\x03\x04", 7)):
        start = content.find(signature)
        while start >= 0:
            content[start + place] &= ~8 & 0xFF
            start = content.find(signature, start + 4)
    return content


def test_names_in_an_archive_are_utf8_whether_marked_or_not(tmp_path: Path) -> None:
    path = tmp_path / "pile.zip"
    path.write_bytes(unmarked(packed(path, {"né/1.png": b"one", "日本/2.png": b"two"})))
    source = opened(path)
    assert {record.path: source.read(record.path, LIMIT) for record in source.records} == {
        "né/1.png": b"one",
        "日本/2.png": b"two",
    }
    assert source.warnings == []


def test_names_in_an_archive_that_are_not_utf8_are_code_page_437(tmp_path: Path) -> None:
    path = tmp_path / "pile.zip"
    content = unmarked(packed(path, {"né/1.png": b"one", "a/2.png": b"two"}))
    path.write_bytes(content.replace("é".encode(), b"\x82x"))
    source = opened(path)
    assert [record.path for record in source.records] == ["a/2.png", "néx/1.png"]
    assert source.read("néx/1.png", LIMIT) == b"one"
    (warning,) = source.warnings
    assert warning.startswith(f"{path}: 1 name is not UTF-8 and read as code page 437, such as néx/1.png.")


@pytest.mark.parametrize(("raw", "expected"), [(b"n?.png", "né.png"), (b"other", "n?.png")])
def test_the_unicode_path_counts_where_it_belongs_to_the_name(raw: bytes, expected: str, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("n?.png")
    field = struct.pack("<BI", 1, zlib.crc32(raw)) + "né.png".encode()
    info.extra = struct.pack("<HHHH", 0x9999, 0, 0x7075, len(field)) + field
    with zipfile.ZipFile(tmp_path / "pile.zip", "w") as archive:
        archive.writestr(info, b"one")
    source = opened(tmp_path / "pile.zip")
    assert [record.path for record in source.records] == [expected]
    assert source.read(expected, LIMIT) == b"one"


def test_archives_with_a_damaged_directory_are_a_sentence(tmp_path: Path) -> None:
    """A name is marked as UTF-8 but is not; a version is unknown; an entry is not a valid entry."""
    path = tmp_path / "pile.zip"
    whole = packed(path, {"1.png": b"x", "né.png": b"y"})
    start = whole.rfind(b"PK\x01\x02")
    name, version, end = bytearray(whole), bytearray(whole), bytearray(whole)
    name[start + 47 : start + 49] = b"\xff\xfe"
    version[start + 6] = 99
    end[start] = 0
    for number, content in enumerate((name, version, end)):
        damaged = tmp_path / f"{number}.zip"
        damaged.write_bytes(content)
        with pytest.raises(
            ConfigError, match=r"neither a directory nor a complete .zip \(.+\). If it is a .zip, copy it"
        ):
            opened(damaged)


def test_one_odd_member_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "pile.zip"
    content = packed(path, {"1.png": b"one", "né.png": b"two", "3.png": b"three", "Z": b"four"})
    header = content.find("né".encode())
    content[header + 1 : header + 3] = b"\xff\xfe"  # in the member's own header only, not in the directory
    content[content.rfind(b"Z")] = 0
    method = content.rfind(b"PK\x01\x02", 0, content.rfind(b"3.png")) + 10
    content[method] = 97
    path.write_bytes(content)
    source = opened(path)
    assert [record.path for record in source.records] == ["1.png", "3.png", "né.png"]
    assert {name: str(reason) for name, reason in source.rejects.items()} == {
        "\0": "unreadable: its name contains a zero byte"
    }
    assert source.read("1.png", LIMIT) == b"one"
    for name in ("3.png", "né.png"):
        with pytest.raises(RejectedError, match="unreadable: in the archive: "):
            source.read(name, LIMIT)


def test_a_damaged_or_encrypted_table_in_an_archive_is_said(tmp_path: Path) -> None:
    path = tmp_path / "pile.zip"
    content = packed(path, {"1.png": b"one", "labels.csv": b"path,label\n1.png,cat\n"})
    damaged, locked = content.replace(b"1.png,cat", b"1.png,dog"), bytearray(content)
    locked[locked.rfind(b"PK\x01\x02") + 8] |= 1
    for number, (changed, reason) in enumerate(((damaged, "Bad CRC-32"), (locked, "encrypted"))):
        other = tmp_path / f"{number}.zip"
        other.write_bytes(changed)
        with pytest.raises(PipelineError, match=rf"labels.csv cannot be read \(in the archive: .*{reason}"):
            opened(other)


def test_damaged_archives_are_told_or_read(tmp_path: Path) -> None:
    """All files of a mutated archive are accounted for, or the archive is refused in a sentence."""
    chance = random.Random(0)
    outcomes: Counter[str] = Counter()
    for number in range(150):
        path = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(path, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for name in ("a/1.png", "né/2.png", "日本/3.png", "labels.csv"):
                archive.writestr(name, b"path,group\n" * (name == "labels.csv") or name.encode() * 9)
        whole = path.read_bytes()
        start = chance.choice((0, whole.find(b"PK\x01\x02")))
        path.write_bytes(whole[:start] + damage(whole[start:], chance))
        try:
            source = opened(path)
        except PipelineError as error:
            outcomes["told" if len(str(error)) < 1000 else "long"] += 1
            continue
        with zipfile.ZipFile(path) as archive:
            files = [info for info in archive.infolist() if not info.orig_filename.endswith("/")]
        assert len(source.records) + len(source.rejects) + len(source.ignored) == len(files)
        for record in source.records:
            try:
                source.read(record.path, LIMIT)
                outcomes["read"] += 1
            except RejectedError:
                outcomes["rejected"] += 1
    assert min(outcomes[word] for word in ("told", "read", "rejected")) > 20
    assert not outcomes["long"]
