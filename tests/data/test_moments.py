"""Times in the store: the clip and the time of each frame, and the earliest time of identical frames."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.moments import Moment, Moments
from ssl_pipeline.data.source import Images
from ssl_pipeline.data.splits import assign, merge_copies
from ssl_pipeline.data.store import SPLITS, open_split
from ssl_pipeline.errors import PipelineError
from ssl_pipeline_plugins.sources.digits import Digits
from tests.data.test_ingest import run
from tests.factories import digits_store, in_clips


def test_clips_are_numbered_in_the_order_of_rows() -> None:
    moments = Moments.of([Moment("b", 0.5), None, Moment("a", 0.25), Moment("b", 0.0)])
    assert moments.clips.tolist() == [0, -1, 1, 0]
    np.testing.assert_array_equal(moments.seconds, [0.5, np.nan, 0.25, 0.0])


def test_a_store_has_moments_where_images_are_frames(tmp_path: Path) -> None:
    digits_store(tmp_path / "with", {"train": 20, "test": 0}, moments=in_clips)
    digits_store(tmp_path / "without", {"train": 20})
    train, plain = (open_split(tmp_path / name, "train") for name in ("with", "without"))
    assert train.moments is not None
    assert train.moments.clips.tolist() == [0] * 8 + [1] * 8 + [2] * 4
    assert train.moments.seconds.tolist() == ([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5] * 3)[:20]
    assert plain.moments is None
    assert train.sha256 != plain.sha256
    assert open_split(tmp_path / "with", "test").moments is None
    (tmp_path / "with" / "train" / "moments.npz").unlink()
    with pytest.raises(PipelineError, match=r"moments\.npz"):
        open_split(tmp_path / "with", "train")


def test_of_equal_frames_the_first_counts_in_the_clip_that_is_kept() -> None:
    records = [
        Record("a/2.png", group="a", seconds=2.0),
        Record("a/1.png", group="a", seconds=1.0),
        Record("b/0.png", group="b", seconds=0.0),
    ]
    ((content,), _) = merge_copies((b"same pixels", record) for record in records)
    assert content.moment == Moment("a", 1.0)
    assert content.groups == {"a", "b"}
    ((content,), _) = merge_copies((b"same pixels", record) for record in [Record("0.png"), *records])
    assert content.moment == Moment("b", 0.0)


def test_a_frame_that_many_clips_show_ties_none_of_them() -> None:
    black = [Record(f"{clip}/0.png", group=clip, seconds=0.0) for clip in "abcdef"]
    for clips, groups in ((3, {"a", "b", "c"}), (4, {"a"}), (6, {"a"})):
        ((content,), _) = merge_copies((b"black", record) for record in black[:clips])
        assert (content.groups, content.moment) == (groups, Moment("a", 0.0))
    ((content,), _) = merge_copies((b"black", record._replace(seconds=None)) for record in black)
    assert content.groups == set("abcdef")  # images that are not frames are grouped as always
    others = [(record.path.encode(), record._replace(path=record.path + "2", seconds=1.0)) for record in black]
    contents, _ = merge_copies([*((b"black", record) for record in black), *others])
    assert set(assign(contents, 0, 0.2, 0.2)[0]) >= {"val"}


def test_a_frame_without_a_clip_is_refused() -> None:
    with pytest.raises(PipelineError, match=r"a\.png has a time, 1\.5 s, but no group"):
        merge_copies([(b"pixels", Record("a.png", seconds=1.5))])


def test_ingest_keeps_the_clips_of_frames_and_their_times(tmp_path: Path) -> None:
    digits = Digits().open()
    records = [
        record._replace(group=f"clip {number // 10}", seconds=number % 10 / 4)
        for number, record in enumerate(digits.records[:60])
    ]
    plain: Images = replace(digits, records=digits.records[:60])
    run(replace(digits, records=records), tmp_path / "out")
    assert "moments" not in str(sorted(run(plain, tmp_path / "plain")))
    found: list[tuple[int, list[float]]] = []
    for split in (open_split(tmp_path / "out" / "store", name) for name in SPLITS):
        if split.moments:
            clips, seconds = split.moments
            found += [(len(found), sorted(seconds[clips == clip].tolist())) for clip in np.unique(clips)]
    assert [times for _, times in found] == [[number / 4 for number in range(10)]] * 6
