"""`plan` on folders of real digits: its output, what it writes, and what it does about unusable images."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from ssl_pipeline.config import load
from ssl_pipeline.planning import costs
from ssl_pipeline_stages.plan import plan
from tests.factories import digit_images

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml, which is the current folder."""
    (tmp_path / "params.yaml").write_text(PARAMS.read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(costs, "TRIAL_SECONDS", 0.01)
    return tmp_path


def write_digits(folder: Path, count: int, side: int = 40) -> None:
    folder.mkdir()
    for number, image in enumerate(digit_images(count)):
        Image.fromarray(image).resize((side, side)).save(folder / f"{number:03}.png")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(plan, arguments)


def test_a_plan_is_told_and_written_and_a_second_one_changes_no_word_of_a_person(project: Path):
    write_digits(project / "scans", 60)
    done = run("scans", "--hours", "0.2", "--explain")
    assert done.exit_code == 0, done.output
    assert "Images: 60, of which 60 were examined." in done.output
    assert "100% of the images are grey" in done.output
    assert "augment.views" in done.output
    assert "minutes" in done.output
    planned = load(project / "params.yaml")
    assert planned.ingest.source.options == {"path": "scans"}
    assert planned.augment.views["global"].on_colours() == []
    text = (project / "params.yaml").read_text().replace(f"epochs: {planned.pretrain.epochs} ", "epochs: 3 ")
    (project / "params.yaml").write_text(text)
    again = run("--hours", "0.2")
    assert again.exit_code == 0, again.output
    assert "Not changed, because you have set them" in again.output
    assert load(project / "params.yaml").pretrain.epochs == 3


def test_a_dry_run_writes_nothing(project: Path):
    write_digits(project / "scans", 1)
    done = run("scans", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "there are too few images to test a classifier on mirror images" in done.output
    assert (project / "params.yaml").read_text() == PARAMS.read_text()
    assert [path.name for path in project.iterdir()].count("plan.json") == 0


def test_images_of_16_bits_are_kept_as_they_are(project: Path):
    (project / "scans").mkdir()
    for number, image in enumerate(digit_images(8)):
        values = np.kron(image[..., 0].astype(np.uint16) * 16, np.ones((5, 5), np.uint16))
        np.save(project / "scans" / f"{number}.npy", values)
    done = run("scans", "--hours", "0.2")
    assert done.exit_code == 0, done.output
    assert "ingest.pixels: as_is" in done.output
    assert load(project / "params.yaml").ingest.pixels.name == "as_is"


def test_of_broken_images_the_usable_ones_count(project: Path):
    write_digits(project / "scans", 6)
    (project / "scans" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    done = run("scans", "--dry-run", "--explain")
    assert done.exit_code == 0, done.output
    assert "1 unusable image (not an image): broken.png." in done.output


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "no images found"),
        ({"a.png": b"\x89PNG\r\n\x1a\n and no more", "b.jpg": b""}, "none of the 2 images tried is usable"),
    ],
    ids=["empty", "broken"],
)
def test_without_a_usable_image_nothing_is_planned(project: Path, content: dict[str, bytes], said: str):
    (project / "scans").mkdir()
    for name, found in content.items():
        (project / "scans" / name).write_bytes(found)
    done = run("scans")
    assert done.exit_code in (1, 2)
    assert said in done.output
    assert (project / "params.yaml").read_text() == PARAMS.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "does not exist"),
        (("--hours", "0"), "--hours"),
        (("--params", "other.yaml"), "other.yaml does not exist"),
    ],
)
def test_a_mistake_on_the_command_line_is_told(project: Path, arguments: tuple[str, ...], said: str):
    done = run(*arguments)
    assert done.exit_code in (1, 2)
    assert said in done.output


def test_a_mistake_in_params_is_told_before_any_image_is_opened(project: Path):
    (project / "params.yaml").write_text(PARAMS.read_text().replace("canvas: 16", "canvass: 16"))
    done = run("nowhere")
    assert done.exit_code == 2
    assert "ingest.canvass: unknown key" in done.output
