"""Images decoded before a run was killed are not decoded again, and nothing else is mistaken for them."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ssl_pipeline.data import filling
from ssl_pipeline.data.decode import Canvas, Decoded
from ssl_pipeline.data.ingest import Shares, ingest
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.measured import Values
from ssl_pipeline.data.parallel import DecodingOutcome, decode_all
from ssl_pipeline.data.remarks import Note, RejectedError
from ssl_pipeline.data.source import Images
from ssl_pipeline.data.spool import Spool, Spooled, held, resumable
from ssl_pipeline.errors import ChangedError, PipelineError
from ssl_pipeline_plugins.sources.digits import Digits

PATHS = ["a\udce9.png", 'b "2".tif', "c.png", "d.png"]
VALUES = Values(2, "float32", False, float("-inf"), 0.1, -9999.0, 0.25)
OUTCOMES = [
    Decoded(b"1" * 32, 3, 4, "RGB", b"canvas", b""),
    Decoded(b"2" * 32, 5, 6, "F", b"other", b"\x00\xff", (Note("are odd", "say: \udce9"),), VALUES, b"\x01"),
    RejectedError("broken", "its header"),
    Decoded(b"4" * 32, 3, 4, "L", b"last", b""),
]


def filled(folder: Path, number: int = 0) -> dict[str, Any]:
    with Spool(folder, number) as spool:
        assert spool.known == {}
        for path, outcome in zip(PATHS, OUTCOMES, strict=True):
            spool.keep(path, outcome)
    return seen(spool)


def seen(spool: Spool) -> dict[str, Any]:
    return {path: str(one) if isinstance(one, RejectedError) else one for path, one in spool.known.items()}


def test_the_next_run_finds_what_the_last_one_has_found(tmp_path: Path) -> None:
    kept = filled(tmp_path)
    for _ in range(2):
        with Spool(tmp_path) as spool:
            assert seen(spool) == kept
            assert kept[PATHS[1]].values == VALUES
            spool.canvases[0].seek(kept[PATHS[1]].place)
            assert spool.canvases[0].read(kept[PATHS[1]].length + 1) == b"other\x01"


def test_pieces_of_other_processes_are_found_too(tmp_path: Path) -> None:
    with Spool(tmp_path, 2) as spool:
        filled(tmp_path)
        assert spool.known == {}
        spool.look()
        assert list(spool.known) == PATHS
        spool.keep("e.png", Decoded(b"5" * 32, 3, 4, "L", b"mine", b""))
        assert held(tmp_path) == sum(len(one.canvas + one.gaps) for one in OUTCOMES if isinstance(one, Decoded))
        spool.flush()
        assert [path.read_bytes()[-4:] for path in sorted(tmp_path.glob("canvases-*"))] == [b"last", b"mine"]


def test_what_was_read_of_other_processes_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, 1)
    read, checked = [], zlib.crc32
    with Spool(tmp_path) as spool, Spool(tmp_path, 1) as other:
        spool.look()
        other.keep("e.png", Decoded(b"5" * 32, 3, 4, "L", b"late", b""))
        other.flush()
        monkeypatch.setattr(zlib, "crc32", lambda content: read.append(content) or checked(content))
        spool.look()
        assert read == [b"late"]
        assert list(spool.known) == [*PATHS, "e.png"]
        found = spool.known["e.png"]
        assert isinstance(found, Spooled)
        spool.canvases[1].seek(found.place)
        assert spool.canvases[1].read() == b"late"


def tear(folder: Path) -> None:
    (folder / "outcomes-0000").write_bytes((folder / "outcomes-0000").read_bytes()[:-3])


def lose(folder: Path) -> None:
    (folder / "canvases-0000").write_bytes((folder / "canvases-0000").read_bytes()[:-3])


def flip(folder: Path) -> None:
    content = bytearray((folder / "canvases-0000").read_bytes())
    content[-1] ^= 1
    (folder / "canvases-0000").write_bytes(content)


def scribble(folder: Path) -> None:
    lines = (folder / "outcomes-0000").read_bytes().splitlines(keepends=True)
    (folder / "outcomes-0000").write_bytes(b"".join(lines[:-1]) + b'[1, {"path": 3}]\n\xff\x00\n')


@pytest.mark.parametrize("damage", [tear, lose, flip, scribble])
def test_a_torn_end_is_cut_off_and_made_again(damage: Callable[[Path], None], tmp_path: Path) -> None:
    kept = filled(tmp_path)
    whole = [(tmp_path / name).read_bytes() for name in ("canvases-0000", "outcomes-0000")]
    damage(tmp_path)
    with Spool(tmp_path) as spool:
        assert list(spool.known) == PATHS[:3]
        spool.keep(PATHS[3], OUTCOMES[3])
        assert seen(spool) == kept
    assert [(tmp_path / name).read_bytes() for name in ("canvases-0000", "outcomes-0000")] == whole


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_that_was_stopped_goes_on_and_writes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Digits().open()
    records = [*source.records[:40], Record("odd")]

    def read(path: str, limit: int) -> Any:
        return b"no image" if path == "odd" else source.read(path, limit)

    images = Images(records, read, portable=False)
    canvas, shares = Canvas(8, "squash", (0, 0, 0), 6, 1.0), Shares(0, 0.2, 0.2, 0.5)

    def run(name: str, begun: Path | None) -> dict[str, bytes]:
        (tmp_path / name).mkdir()
        ingest(images, tmp_path / name, canvas, shares, tmp_path / "reports", 1, begun=begun)
        return contents(tmp_path / name)

    decoded: list[int] = []

    def stopping_at(place: int) -> Callable[..., Iterator[DecodingOutcome]]:
        def decode(images: Images, canvas: Canvas, workers: int | None) -> Iterator[DecodingOutcome]:
            decoded.append(0)
            for outcome in decode_all(images, canvas, workers):
                if decoded[-1] == place:
                    raise KeyboardInterrupt
                decoded[-1] += 1
                yield outcome

        return decode

    expected = run("whole", None)
    for number, place in enumerate((17, 5)):
        monkeypatch.setattr(filling, "decode_all", stopping_at(place))
        with pytest.raises(KeyboardInterrupt):
            run(f"stopped {number}", tmp_path / "begun")
    monkeypatch.setattr(filling, "decode_all", stopping_at(99))
    assert run("resumed", tmp_path / "begun") == expected
    assert run("once more", tmp_path / "begun") == expected
    assert decoded == [17, 5, 41 - 22, 0]


def test_only_the_spool_of_a_run_that_failed_stays(tmp_path: Path) -> None:
    canvas = 8
    with pytest.raises(ValueError, match="stop"), resumable(tmp_path, {"canvas": canvas}) as first:
        assert first
        (first / "canvases-0000").write_bytes(b"1")
        raise ValueError("stop")
    with resumable(tmp_path, {"canvas": canvas}) as again, resumable(tmp_path, {"canvas": canvas}) as busy:
        assert (again, busy) == (first, None)
        assert again
        assert (again / "canvases-0000").read_bytes() == b"1"
        with pytest.raises(ValueError, match="stop"), resumable(tmp_path, {"canvas": 9}) as other:
            assert other != again
            assert (again / "canvases-0000").exists()
            raise ValueError("stop")
    assert [path.name for path in tmp_path.iterdir()] == [other.name if other else ""]
    with resumable(tmp_path, {"canvas": canvas}):
        assert other
        assert not other.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "rejected", [RejectedError("too slow", "10 s"), RejectedError("broken", "its decoder crashed")]
)
def test_what_a_busy_machine_has_rejected_is_tried_again(tmp_path: Path, rejected: RejectedError) -> None:
    with Spool(tmp_path) as spool:
        for path, outcome in zip(PATHS, [OUTCOMES[0], rejected, OUTCOMES[1]], strict=False):
            spool.keep(path, outcome)
    with Spool(tmp_path) as spool:
        assert list(spool.known) == [PATHS[0], PATHS[2]]


def test_nothing_is_left_of_files_that_changed_while_they_were_read(tmp_path: Path) -> None:
    for error, left in ((ChangedError("a.png changed"), False), (PipelineError("too many rejects"), True)):
        with pytest.raises(PipelineError), resumable(tmp_path, "a run") as place:
            assert place
            filled(place)
            raise error
        assert (place / "outcomes-0000").exists() == left
