"""`pretrain` learns in one call what the stages learn, from any collection of images, and resumes a killed run."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

import ssl_pipeline
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.config import Config
from ssl_pipeline.data.source import Images
from ssl_pipeline.data.store import open_split
from ssl_pipeline.deployment import learning
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.library import pretraining
from ssl_pipeline.library.collections import find_images
from ssl_pipeline.library.settings import CHOSEN, read_settings
from ssl_pipeline.loading import load_registry
from ssl_pipeline.training.run import Run
from tests.factories import digit_images

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "views": {"global": {"size": 8, "random_resized_crop": {"p": 1.0, "scale": [0.5, 1.0], "ratio": [0.8, 1.25]}}},
    "backbone": {"name": "resnet_cifar", "depth": 8, "width": 4},
    "epochs": 4,
    "batch_size": 16,
    "canvas": 8,
    "precision": "fp32",
    "checkpoint_minutes": 0,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ssl_pipeline.Pretrained:
    """A run that was killed after five steps and resumed by a second call."""
    place = tmp_path_factory.mktemp("of")
    np.save(place / "digits.npy", digit_images(48))
    code = (
        "import json, os, sys, numpy as np, ssl_pipeline\n"
        "from ssl_pipeline.deployment import learning\n"
        "from ssl_pipeline.training.run import Run\n"
        "learning.rehearse = lambda *_: None\n"  # export has been tried in other tests
        "save = Run.save\n"
        "def dying(self, steps):\n"
        "    save(self, steps)\n"
        "    if steps == 5: os._exit(9)\n"
        "Run.save = dying\n"
        "ssl_pipeline.pretrain(np.load('digits.npy'), 'simclr', 'digits', **json.loads(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(SMALL)], cwd=place, check=False)
    assert done.returncode == 9
    assert not (place / "digits" / "encoder.safetensors").exists()
    assert len(list((place / "digits" / ".work").glob("*/checkpoint.pt"))) == 1
    return ssl_pipeline.pretrain(digit_images(48), "simclr", place / "digits", **SMALL)


def test_it_leaves_what_the_stages_leave(run: ssl_pipeline.Pretrained):
    for path in (
        run.weights,
        run.backbone,
        run.pretext,
        run.folder / "model.json",
        run.reports / "pictures/curves.png",
    ):
        assert path.is_file()
    assert not list(run.folder.glob(".work/*/checkpoint*"))
    onnx.checker.check_model(onnx.load(run.backbone))
    found = run.embed(digit_images(5))
    with torch.no_grad():
        pixels = torch.from_numpy(digit_images(5)).permute(0, 3, 1, 2) / 255
        expected = torch.nn.functional.normalize(run.encoder(pixels), dim=1)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    assert run.state_dict().keys() == run.encoder.backbone.state_dict().keys()
    assert run.card.recipe.name == "simclr"
    assert len(open_split(run.folder / "ingested" / "store", "train")) == 48  # no image is held out


def test_a_finished_run_is_returned_as_it_is(run: ssl_pipeline.Pretrained, monkeypatch: pytest.MonkeyPatch):
    def nobody(*_: object, **__: object) -> None:
        raise AssertionError("a finished run was computed again")

    for name in ("ingest", "learn", "release"):
        monkeypatch.setattr(pretraining, name, nobody)
    again = ssl_pipeline.pretrain(digit_images(48), "simclr", str(run.folder), **SMALL)
    assert again.card == run.card


def test_damaged_images_are_told_without_a_word_of_stages(run: ssl_pipeline.Pretrained, tmp_path: Path):
    shutil.copytree(run.folder, tmp_path / "copy")
    with (tmp_path / "copy/ingested/store/train/ids.npy").open("ab") as file:
        file.write(b"0")
    with pytest.raises(PipelineError, match=r"ids.npy is damaged .*remove .*ingested, and call ssl_pipeline.pretrain"):
        ssl_pipeline.pretrain(digit_images(48), "simclr", tmp_path / "copy", **SMALL)


def test_a_stopped_run_says_which_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    step = Run.step
    monkeypatch.setattr(Run, "step", lambda *args, **how: (os.kill(os.getpid(), signal.SIGINT), step(*args, **how))[1])
    with pytest.raises(KeyboardInterrupt, match=r"after step 1 of 12.* Call ssl_pipeline.pretrain again to resume"):
        ssl_pipeline.pretrain(digit_images(48), "simclr", tmp_path / "out", **SMALL)


def test_a_run_that_was_killed_ends_with_the_bits_of_one_that_was_not(
    run: ssl_pipeline.Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def trained(_: object, card: ModelCard, *__: object) -> None:
        raise PipelineError(card.weights_sha256)  # the next action would be to write the files

    monkeypatch.setattr(learning, "write_pretext_graph", trained)
    with pytest.raises(PipelineError, match=f"^{run.card.weights_sha256}$"):
        ssl_pipeline.pretrain(digit_images(48), "simclr", tmp_path / "digits", **SMALL)


class Pictures(Dataset[Any]):
    """Digits in one of the forms in which data sets return images."""

    def __init__(self, form: str):
        self.form = form

    def __len__(self) -> int:
        return 6

    def __getitem__(self, row: int) -> Any:
        image = digit_images(6)[row]
        tensor = torch.from_numpy(image).permute(2, 0, 1)
        forms = {"pillow": Image.fromarray(image), "array": image, "tensor": tensor, "floats": tensor / 255}
        return forms[self.form], row % 3


def as_pixels(images: Images) -> list[Any]:
    """Return the RGB pixels read from each image."""
    read = [images.read(record.path, 10**6) for record in images.records]
    return [np.asarray(image).tolist() for image in read]


@pytest.mark.parametrize("form", ["pillow", "array", "tensor", "floats"])
def test_data_sets_of_all_forms_hold_the_same_images(form: str, tmp_path: Path):
    found = find_images(Pictures(form), load_registry(), False, tmp_path / "hashes")
    assert as_pixels(found.open()) == digit_images(6).tolist()
    assert all(record.label is None for record in found.open().records)
    assert found.key == ""


def test_a_folder_is_read_without_its_labels_and_known_again(tmp_path: Path):
    for number, image in enumerate(digit_images(6)):
        place = tmp_path / "pile" / ("test" if number == 5 else "train") / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    registry, hashes = load_registry(), tmp_path / "hashes"
    found = find_images(tmp_path / "pile", registry, False, hashes)
    records = found.open().records
    assert [(record.label, record.split) for record in records] == [(None, "test"), *[(None, "train")] * 5]
    named = {"name": "folder", "path": str(tmp_path / "pile")}
    assert find_images(named, registry, False, hashes).key == found.key
    (tmp_path / "pile" / "train" / "0" / "0.png").unlink()
    assert find_images(tmp_path / "pile", registry, False, hashes).key != found.key


def test_arrays_keep_their_channels_where_that_is_asked_for(tmp_path: Path):
    bands = np.arange(2 * 8 * 8 * 5, dtype=np.uint16).reshape(2, 8, 8, 5)
    found = find_images(bands, load_registry(), True, tmp_path / "hashes")
    images = found.open()
    content = images.read(images.records[1].path, 10**6)
    assert isinstance(content, bytes)
    assert content.endswith(bands[1].tobytes())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("nowhere", "^images: 'nowhere' does not exist. Give the path of a directory or .zip file of images.$"),
        (np.zeros((8, 8, 3), np.uint8), r"images is an array of uint8 \(8, 8, 3\). Give \(N, H, W, C\)"),
        (iter([]), "which has no length or no indexing. Give the path of a directory"),
        ([], "images is empty"),
        ([{"image": 1}, {"image": 2}], r"images\[0\] is of type dict. Each item must be an image"),
        (np.zeros((2, 8, 8, 3)), r"images\[0\] is an array of float64"),
        (np.zeros((2, 8, 8, 1), np.uint16), r'images\[0\] is an array of uint16. Pass pixels="as_is"'),
        (
            TensorDataset(torch.full((2, 3, 8, 8), 1.5)),
            r"images\[0\] has values from 1.5 to 1.5. Give floats in \[0, 1\]",
        ),
        ({"name": "folderr", "path": "."}, "images: unknown name 'folderr'. Did you mean 'folder'"),
    ],
)
def test_what_holds_no_images_is_told(images: Any, message: str, tmp_path: Path):
    with pytest.raises(PipelineError, match=message):
        ssl_pipeline.pretrain(images, "simclr", tmp_path / "out", **SMALL)
    assert not (tmp_path / "out" / "ingested").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, "epoch: unknown setting. Did you mean 'epochs'"),
        ({"epochs": -1}, r"epochs: -1 is too small; the smallest value is 0"),
        ({"canvas": 4, "batch_size": 1}, r"(?s)batch_size: .*canvas: "),
        ({"loss": {"temprature": 1}}, "pretrain.loss.temprature: unknown key. Did you mean 'temperature'"),
        ({"views": {"global": {"size": 8, "blur": {}}}}, "views.global.blur"),
        ({"views": {"other": SMALL["views"]["global"]}}, "augment.views.global: missing"),
        ({"seed": -1}, "^seed: -1 is too small[^\n]*$"),
    ],
)
def test_bad_settings_are_refused_as_in_params_yaml(settings: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=message):
        ssl_pipeline.pretrain(digit_images(8), "simclr", tmp_path / "out", **SMALL | settings)


def test_values_that_nobody_gives_are_those_of_params_yaml_or_the_recipes():
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    config = Config.model_validate(shipped)
    settings = read_settings("simclr", {})
    ours = settings.pretrain.model_dump() | settings.ingest.model_dump(include=set(CHOSEN))
    theirs = config.pretrain.model_dump() | config.ingest.model_dump(include=set(CHOSEN))
    different = {name for name, value in ours.items() if value not in (theirs[name], "recipe")}
    assert different == {"resize", "devices"}  # photographs are cropped, not squashed; a call starts no other process
    assert settings.canvas(32).size == 36
    assert read_settings("simclr", {"canvas": 40}).canvas(32).size == 40


def test_a_script_without_a_main_guard_is_not_run_again_by_decoding_processes(tmp_path: Path):
    (tmp_path / "images").mkdir()
    for number, image in enumerate(digit_images(4)):
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "script.py").write_text(
        "print('once')\n"
        "from pathlib import Path\n"
        "from ssl_pipeline.library import pretraining, settings, collections\n"
        "from ssl_pipeline.loading import load_registry\n"
        "found = collections.find_images('images', load_registry(), False, Path('hashes'))\n"
        "pretraining._store(Path('out'), found, settings.read_settings('simclr', {}), 8)\n"
        "print(len(pretraining.open_split(Path('out/ingested/store'), 'train')), __file__[-9:])\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.split() == ["once", "4", "script.py"], done.stderr
