"""`check` prints one line per check, reports all mistakes at once and writes nothing; ingest refuses the same."""

import dataclasses
import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from ssl_pipeline.config import Config
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.source import Images, Source
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.planning import proposal
from ssl_pipeline.planning.machine import Speed, look_around
from ssl_pipeline_stages import checks
from ssl_pipeline_stages.check import check
from ssl_pipeline_stages.ingest import ingest
from tests.factories import digit_images

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A folder with params.yaml; calling it runs a command with changes. Nothing is exported or timed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks, "tried", lambda encoder, card: 6.0)
    monkeypatch.setattr("ssl_pipeline_stages.check.IMAGES", 60)
    measured = functools.partial(proposal.estimate_all, measure=lambda *_: Speed(1000.0, 1e5))
    monkeypatch.setattr(proposal, "estimate_all", measured)
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))

    def run(command: Any = check, **changes: dict[str, Any]) -> Result:
        changed = {name: params[name] | values for name, values in changes.items()}
        Path("params.yaml").write_text(yaml.safe_dump(params | changed))
        return CliRunner().invoke(command, [])

    return run


@pytest.mark.parametrize("command", [check, ingest], ids=["check", "ingest"])
def test_images_without_captions_are_refused_for_a_recipe_that_learns_from_them(
    project: Callable[..., Result], command: Any
) -> None:
    done = project(command, pretrain={"recipe": "clip"})
    assert done.exit_code == 1, done.output
    assert "learns from images and their captions, but no image has a caption. Give the images captions" in done.output
    assert not Path("data/ingested").exists()


def test_captions_count_where_they_are_kept_and_trained_on() -> None:
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    params["pretrain"] |= {"recipe": "clip"}
    built = checks.build(Config.model_validate(params), load_registry())
    of_test, blank = Record("a.png", split="test", captions=("sea",)), Record("b.png", captions=(" ", "\0"))
    with pytest.raises(PipelineError, match="no image has a caption"):
        checks.check_records(built, [of_test, blank])
    checks.check_records(built, [of_test, blank, Record("c.png", captions=(" ", "sea"))])


@pytest.mark.parametrize("command", [check, ingest], ids=["check", "ingest"])
@pytest.mark.parametrize("recipe", ["time_contrast", "frame_order"])
def test_images_without_times_are_refused_for_a_recipe_that_learns_from_them(
    project: Callable[..., Result], command: Any, recipe: str
) -> None:
    done = project(command, pretrain={"recipe": recipe})
    assert done.exit_code == 2, done.output
    assert "the source does not state the times of its images" in done.output
    assert not Path("data/ingested").exists()


def test_each_check_has_a_line_and_nothing_is_written(project: Callable[..., Result]) -> None:
    done = project()
    assert done.exit_code == 0, done.output
    checked, _, estimated = done.output.partition("\n\n")
    assert [line.split()[0] for line in checked.splitlines()] == [
        "params",
        "plugins",
        "images",
        "method",
        "export",
        "disk",
    ]
    assert "images   ok: 1,797 found, 60 tried; 10 classes" in checked
    assert "loss info_nce" in checked
    assert "export   ok: resnet_cifar, tried in 6 s" in checked
    stages = ["ingest", "augment", "pretrain", "export", "curate", "linear_eval", "finetune", "report", "bundle", "all"]
    assert [line.split()[0] for line in estimated.splitlines()] == stages
    assert [path.name for path in Path().iterdir()] == ["params.yaml"]


def test_images_that_cannot_be_used_are_counted_by_kind(project: Callable[..., Result]) -> None:
    Path("scans").mkdir()
    for number, image in enumerate(digit_images(2)):
        Image.fromarray(image).save(f"scans/{number}.png")
    Path("scans/text.png").write_text("no picture")
    done = project(ingest={"source": {"name": "folder", "path": "scans"}})
    assert "images   ok: 3 found, 3 tried, 1 unusable (1 not an image: text.png); no labels; RGB" in done.output


def test_all_mistakes_are_told_at_once(project: Callable[..., Result]) -> None:
    done = project(
        ingest={"source": {"name": "folder", "path": "nowhere"}},
        pretrain={"backbone": {"name": "resnet_cifar", "depth": 7}},
        linear_eval={"rivals": ["a.onnx", "b.onnx"]},
        finetune={"encoders": ["c"]},
    )
    assert done.exit_code == 2
    refused = [line for line in done.output.splitlines() if " refused: " in line]
    for words in ("nowhere does not exist", "depth must be 6n", "'a.onnx'", "'b.onnx'", "'c' is not a directory"):
        assert sum(words in line for line in refused) == 1, words
    assert len(refused) == 5


def test_an_unknown_name_is_refused_as_a_stage_refuses_it(project: Callable[..., Result]) -> None:
    done = project(pretrain={"loss": {"name": "info_nec"}})
    assert done.exit_code == 2
    assert "plugins  refused: pretrain.loss: unknown name 'info_nec'. Did you mean 'info_nce'?" in done.output
    assert done.output.count("info_nec") == 1  # the method check would find it again


def test_options_of_plugins_are_refused_as_such_and_all_at_once(project: Callable[..., Result]) -> None:
    done = project(
        pretrain={"loss": {"name": "info_nce", "temprature": 0.2}, "backbone": {"name": "resnet_cifar", "depht": 14}}
    )
    assert done.exit_code == 2
    assert "plugins  refused: pretrain.loss.temp" in done.output
    assert done.output.count("temprature") == done.output.count("depht") == 1  # the method check would find both again
    assert not any(line.startswith("method") for line in done.output.splitlines())


def test_a_source_without_images_is_said_to_have_none(
    project: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Empty(Source):
        def open(self) -> Images:
            return Images([], lambda path, limit: b"")

    monkeypatch.setattr("ssl_pipeline_stages.code.source", lambda config: Empty())
    done = project()
    assert done.exit_code == 1
    assert "images   refused: ingest.source: there are no images, not even unusable ones." in done.output


def refuse(encoder: object, card: object) -> float:
    raise ConfigError("pretrain.backbone: it cannot be exported")


def test_a_network_that_cannot_ship_is_refused_by_check_and_before_many_images_are_decoded(
    project: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "tried", refuse)
    done = project()
    assert done.exit_code == 2
    assert "export   refused: pretrain.backbone: it cannot be exported" in done.output
    monkeypatch.setattr(checks, "MANY", 1000)
    done = project(ingest)
    assert done.exit_code == 2
    assert "pretrain.backbone: it cannot be exported" in done.stderr
    assert not Path("data/ingested").exists()


def test_a_disk_that_is_too_small_is_refused_by_check_and_by_ingest(
    project: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    for command in (check, ingest):
        done = project(command)
        assert done.exit_code == 1
        assert "but only 0.0 GB are free. Free some space, or choose a smaller ingest.canvas" in done.output
    assert not Path("data/ingested").exists()


def test_a_cache_that_links_takes_no_room_of_its_own(project: Callable[..., Result]) -> None:
    def needed() -> int:
        (line,) = [line for line in project().output.splitlines() if line.startswith("disk")]
        return int(line.split()[3])

    twice = needed()
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text('[cache]\n    type = "hardlink,copy"\n')
    assert needed() == pytest.approx(twice / 2, abs=1)


def test_a_batch_that_does_not_fit_is_told_with_the_micro_batch_that_does(
    project: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = dataclasses.replace(look_around(), device="cpu", memory=1_050_000_000)
    monkeypatch.setattr("ssl_pipeline.planning.machine.look_around", lambda: small)
    heavy = functools.partial(proposal.estimate_all, measure=lambda *_: Speed(1000.0, 4e6))  # 6 MB per image at peak
    monkeypatch.setattr(proposal, "estimate_all", heavy)
    assert "pretrain may need more memory than this machine has: set pretrain.micro_batch: 64." in project().output
    told = project(pretrain={"micro_batch": 4}).output
    assert "pretrain may need more memory" not in told
    assert "finetune may need more memory than this machine has: lower finetune.batch_size." in told
