"""`pretrain.resolution`: malformed schedules are refused, and the cost of a schedule is known."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ssl_pipeline.config import PretrainConfig, load
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.resolution import relative_cost

PARAMS = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture
def read(tmp_path: Path):
    """Return a function that reads params.yaml with a value of `pretrain.resolution`, or without the key for None."""

    def go(value: Any) -> PretrainConfig:
        content = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
        content["pretrain"]["resolution"] = value
        if value is None:
            del content["pretrain"]["resolution"]
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return load(path).pretrain

    return go


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "must be pairs of numbers"),
        (0.5, "must be pairs of numbers"),
        ("full", "must be pairs of numbers"),
        ([0, 0.5], "must be pairs of numbers"),
        ([[0, 0.5, 1]], "must be pairs of numbers"),
        ([[0, "1"]], "must be pairs of numbers"),
        ([[0, True]], "must be pairs of numbers"),
        ({"0": 1}, "must be pairs of numbers"),
        ([[0.1, 1]], "the first pair must begin at 0, the start of the run"),
        ([[float("nan"), 1]], "the first pair must begin at 0, the start of the run"),
        ([[0, 0.5], [0.6, 0.7], [0.6, 1]], "the shares of the run must increase"),
        ([[0, 0.5], [0.6, 0.7], [0.5, 1]], "the shares of the run must increase"),
        ([[0, 0.5], [60, 1]], "the shares of the run must increase and be less than 1"),
        ([[0, 0.5], [10**12, 1]], "the shares of the run must increase and be less than 1"),
        ([[0, 0], [0.5, 1]], "the shares of the side must be greater than 0 and at most 1"),
        ([[0, -0.5], [0.5, 1]], "the shares of the side must be greater than 0 and at most 1"),
        ([[0, 112], [0.5, 1]], "the shares of the side must be greater than 0 and at most 1"),
        ([[0, float("nan")], [0.5, 1]], "the shares of the side must be greater than 0 and at most 1"),
        ([[0, 0.5], [0.5, 0.9]], "the last share of the side must be 1"),
        ([[0, 0.5]] * 1000, "the shares of the run must increase"),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_to_write(read, value, words):
    with pytest.raises(ConfigError) as caught:
        read(value)
    (line,) = str(caught.value).splitlines()
    assert f"pretrain.resolution: {words}" in line
    assert "write resolution: [[0, 0.5], [0.6, 0.75], [0.85, 1.0]], or [[0, 1.0]] for full size throughout" in line
    assert len(line.split("params.yaml: ")[1]) < 400


def test_a_file_of_an_earlier_version_is_told_what_to_write(read):
    with pytest.raises(ConfigError, match=r"pretrain\.resolution: is a new key\. Add resolution: \[\[0, 1\.0\]\]"):
        read(None)


def test_a_schedule_may_also_fall_and_costs_what_its_areas_are(read):
    found = read([[0, 1], [0.25, 0.5], [0.75, 1]]).resolution
    assert found == ((0.0, 1.0), (0.25, 0.5), (0.75, 1.0))
    assert relative_cost(found) == pytest.approx(0.25 + 0.5 / 4 + 0.25)
    assert relative_cost(load(PARAMS).pretrain.resolution) == 1
