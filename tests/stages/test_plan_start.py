"""`plan` and `init` with initial weights: what they write, whether `check` passes it, and what is refused."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from click.testing import CliRunner

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.card import CARD
from ssl_pipeline.artifacts.files import ENCODER
from ssl_pipeline.config import Choice, load
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.loading import load_registry
from ssl_pipeline.planning import costs
from ssl_pipeline.products import write_product
from ssl_pipeline_stages.check import check
from ssl_pipeline_stages.init import init
from ssl_pipeline_stages.plan import plan
from ssl_pipeline_stages.starts import Start, given
from tests.factories import model_card
from tests.stages.test_plan import PARAMS, write_digits


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml, images and weights, which is the current folder."""
    (tmp_path / "params.yaml").write_text(PARAMS.read_text())
    write_digits(tmp_path / "scans", 30)
    torch.manual_seed(0)
    safetensors.torch.save_file(torchvision.models.resnet18().state_dict(), tmp_path / "weights.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(costs, "TRIAL_SECONDS", 0.01)
    return tmp_path


def test_a_planned_start_is_written_and_passes_the_check(project: Path):
    arguments = ("scans", "--hours", "0.2", "--start", "weights.safetensors", "--backbone", "torchvision/resnet18")
    done = CliRunner().invoke(plan, arguments)
    assert done.exit_code == 0, done.output
    section = load(project / "params.yaml").pretrain
    assert (section.init, section.epochs) == ("weights.safetensors", 0)  # for thirty images
    assert section.backbone.name == "torchvision/resnet18"  # type: ignore[union-attr]
    checked = CliRunner().invoke(check, [])
    assert checked.exit_code == 0, checked.output
    assert "left out" not in done.output + checked.output  # pretrain reports this
    again = CliRunner().invoke(plan, ["--hours", "0.2", "--dry-run"])  # without the option, params.yaml decides
    assert "pretrain.init: weights.safetensors" in again.output


def test_init_begins_a_project_with_a_start(project: Path):
    (project / "params.yaml").unlink()
    arguments = ("shop", "--images", "scans", "--hours", "0.2", "--start", "weights.safetensors")
    done = CliRunner().invoke(init, [*arguments, "--backbone", "torchvision/resnet18"])
    assert done.exit_code == 0, done.output
    assert "torchvision/resnet18} from " in done.output
    assert load(project / "shop/params.yaml").pretrain.init == "../weights.safetensors"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--start", "nowhere.pth"), "--start: 'nowhere.pth' is neither a file nor the name of a backbone"),
        (("--start", "weights.safetensors"), "does not name the network that its weights belong to"),
        (("--start", "weights.safetensors", "--backbone", "torchvision/resnet34"), "does not fit the backbone"),
        (("--start", "weights.safetensors", "--backbone", "resnet99"), "unknown name 'resnet99'"),
        (("--start", "timm/resnet18", "--backbone", "timm/resnet18"), "already names its network"),
        (
            ("--start", "weights.pth", "--backbone", "torchvision/resnet18", "--small"),
            "is not a .safetensors file, which a small network needs to learn from",
        ),
        (("--start", "none", "--small"), "--small: this option describes the weights of --start"),
        (("--backbone", "timm/resnet18"), "--backbone: this option describes the weights of --start"),
    ],
)
def test_mistakes_are_told_before_images_are_looked_at(project: Path, arguments: tuple[str, ...], said: str):
    (project / "weights.pth").touch()
    done = CliRunner().invoke(plan, ["scans", *arguments])
    assert done.exit_code in (1, 2)
    assert said in done.output
    assert (project / "params.yaml").read_text() == PARAMS.read_text()


@pytest.mark.parametrize("ours", [True, False], ids=["an encoder of ours", "published for another size"])
def test_weights_are_tried_on_images_as_they_were_made_for(tmp_path: Path, ours: bool):
    """Position embeddings fit only one size, and first convolutions only one number of channels."""
    registry, path = load_registry(), tmp_path / ENCODER
    network = {"name": "timm/test_vit"}  # published weights are for 160 px
    size, images = (32, ImageSpec(channels=1, dtype="uint8", low=0, high=255)) if ours else (160, RGB8)
    mean = (0.5,) * images.channels
    encoder = build_encoder(registry, Choice.model_validate(network), mean, mean, 0, size, images=images)
    safetensors.torch.save_file(encoder.state_dict(), path)
    if ours:
        card = model_card(backbone=network, size=size, images=images, mean=mean, std=mean, background=(0,))
        write_product(tmp_path / CARD, card.model_dump(mode="json"))
    found = given(registry, load(PARAMS), Start(str(path), None if ours else "timm/test_vit"), tmp_path)
    assert found is not None
    assert found.backbone == network


def test_init_without_images_has_nothing_to_fit_a_start_to(project: Path):
    done = CliRunner().invoke(init, ["shop", "--start", "timm/resnet18"])
    assert done.exit_code == 1
    assert "settings are fitted to images, but there are none" in done.output
    assert not (project / "shop").exists()
