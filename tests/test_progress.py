"""Progress, printed in lines where there is no terminal to draw a bar."""

from collections.abc import Iterator

import pytest

from ssl_pipeline import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Return the time in seconds, which the test advances."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_every_half_minute_and_a_short_run_none(clock, capsys):
    for _ in progress.track(range(100), "decoding images", total=100):
        clock[0] += 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        f"decoding images: {number} of 100" for number in (31, 61, 91)
    ]
    assert list(progress.track(range(3), "features")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_line_says_the_figures_and_how_long_it_takes(clock, capsys):
    with progress.bar() as bars:
        task = bars.add_task("pretrain", total=4, completed=1, info="")
        bars.update(task, completed=2, info="loss 2.000")
        clock[0] += 40
        bars.update(task, completed=3, info="loss 1.000, 20 images/s")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pretrain: 3 of 4, loss 1.000, 20 images/s")
    assert line.endswith(" left")
