"""The stage export: its products are complete or absent, and it says why it cannot make them."""

import contextlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
import yaml
from click.testing import CliRunner
from sklearn.datasets import load_sample_image

import ssl_pipeline_stages.export
from ssl_pipeline.artifacts.assembly import build_encoder, build_task
from ssl_pipeline.artifacts.files import load_encoder, save_model
from ssl_pipeline.augment.srgb import luminance
from ssl_pipeline.config import load
from ssl_pipeline.data.store import IndexRow, Original, open_split
from ssl_pipeline.data.writer import write_index, write_originals, write_split
from ssl_pipeline.deployment import release
from ssl_pipeline.deployment.runtime import open_session, read_metadata, run
from ssl_pipeline.loading import load_registry
from ssl_pipeline.products import record, sha256, write_product
from ssl_pipeline.recipes import resolve
from ssl_pipeline.runtime import Backbone
from tests.factories import MEAN, STD, digit_images, model_card

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project after export; the products of the earlier stages are made directly."""
    folder = tmp_path_factory.mktemp("project")
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["pretrain"]["backbone"]["depth"] = 8
    params["export"] |= {"licence": "CC-BY-4.0", "variants": ["fp32", "fp16", "int8"]}
    params["export"]["calibration"]["images"] = 60
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    config = load(folder / "params.yaml")
    images = digit_images().repeat(2, axis=1).repeat(2, axis=2)
    store = folder / "data/ingested/store"
    for number, name in enumerate(("train", "val")):
        part = images[number * 60 : (number + 1) * 60]
        write_split(store / name, np.arange(60, dtype=np.uint64) * 2**50 + number, [part], 16)
    photograph = Original(load_sample_image("china.jpg"), "val", 0)
    write_index(store, [IndexRow("", "a.jpg", "", "train", "", 9, 9, 0, 9, "Canon EOS 80D", "2019-05-03T12:00:00")])
    write_originals(store, [photograph, *(Original(images[row, ::2, ::2], "train", row) for row in range(4))])
    write_product(folder / "data/augmented/policy.json", config.augment.model_dump(mode="json"))
    registry, recipe = load_registry(), resolve(load_registry(), config.pretrain)
    encoder = build_encoder(registry, config.pretrain.backbone, MEAN, STD, 0, 16)
    described = {"backbone": config.pretrain.backbone, "recipe": recipe, "embedding_dim": encoder.embedding_dim}
    card = model_card(**described, size=16, params_sha256="0123")
    task = build_task(registry, recipe, encoder, 0, 16).train()
    with torch.no_grad():  # updates the statistics of batch norms
        seen = torch.from_numpy(images[:128]).permute(0, 3, 1, 2)[:, None].repeat(1, 2, 1, 1, 1) / 255
        for _ in range(20):
            task({"global": seen})
    save_model(folder / "models/pretrain", encoder, task.energy_head, card)
    said = export(folder)
    assert said.startswith("export: max_difference ")
    assert len(said.splitlines()) == 1
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy of the project before export."""
    return unexported(made, tmp_path / "project")


@pytest.fixture(scope="module")
def headless(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose encoder has no trained energy and sees only luminance; layer 1 and a map of it ship."""
    folder = unexported(made, tmp_path_factory.mktemp("headless") / "project")
    rotation = {"name": "rotation", "pretext_task": {"name": "rotation"}}
    card = folder / "models/pretrain/model.json"
    write_product(card, {**json.loads(card.read_text()), "grayscale": True, "recipe": rotation})
    set_export(folder, layer=1, outputs=["embedding", "map_2"])
    export(folder)
    return folder


def unexported(made: Path, folder: Path) -> Path:
    shutil.copytree(made, folder)
    shutil.rmtree(folder / "models/export")
    shutil.rmtree(folder / "reports")
    set_export(folder, variants=["fp32"])
    return folder


def test_files_say_where_they_come_from_and_what_their_cosines_mean(made: Path):
    backbone = Backbone(made / "models/export/backbone.onnx")
    assert backbone.metadata["licence"] == "CC-BY-4.0"
    assert backbone.metadata["data_sha256"] == open_split(made / "data/ingested/store", "train").sha256
    assert backbone.metadata["opset"] == "18"
    assert [json.loads(backbone.metadata[name]) for name in ("mean", "std")] == [list(MEAN), list(STD)]
    assert {"same_image", "novel"} <= backbone.thresholds.keys()
    assert backbone.thresholds["novel"]["cosine"] < backbone.thresholds["same_image"]["cosine"]
    energy = read_metadata(open_session(made / "models/export/energy.onnx"))
    assert energy["licence"] == "CC-BY-4.0"
    assert json.loads((made / "models/export/digests.json").read_text())["backbone.onnx"] == backbone.sha256


def test_the_code_of_the_page_on_deployment_runs(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs/deploy.md").read_text(encoding="utf-8"), re.DOTALL)[-1]
    monkeypatch.chdir(made)
    exec(compile(code, "docs/deploy.md", "exec"), {})
    assert len(capsys.readouterr().out.split()) == 2


def test_no_file_tells_the_camera_or_the_date_of_capture(made: Path):
    exported = {path: path.read_bytes() for path in (made / "models").rglob("*.*")}
    assert not [path for path, content in exported.items() if b"Canon" in content or b"2019-05-03" in content]


def test_products_and_figures(made: Path):
    assert sorted(path.name for path in (made / "models/export").iterdir()) == [
        "backbone.onnx",
        "backbone_core.onnx",
        "backbone_fp16.onnx",
        "backbone_int8.onnx",
        "digests.json",
        "energy.onnx",
    ]
    report = json.loads((made / "reports/export/details.json").read_text())
    assert report["parity"]["max_difference"] < 1e-4
    assert report["parity"]["min_cosine"] > 0.99999
    assert report["parity"]["originals"] == 5
    assert report["parity"]["core"]["max_difference"] < 1e-4
    assert (report["layer"], report["embedding_dim"]) == ("last", 64)
    assert -1 <= report["canvas_cosine"]["min"] <= report["canvas_cosine"]["mean"] <= 1
    assert report["energy"]["energy"] == "negative_cosine_over_temperature_of_projections"
    assert report["energy"]["images"] == 60
    low, high = report["energy"]["interval"]
    assert 0 <= low <= report["energy"]["auroc"] <= high <= 1
    for name, facts in report["files"].items():
        path = made / "models/export" / name
        assert facts == {"bytes": path.stat().st_size, "sha256": sha256(path)}
    assert json.loads((made / "reports/export/metrics.json").read_text()) == {"energy_auroc": report["energy"]["auroc"]}


def test_the_graphs_run_with_onnxruntime_alone(made: Path):
    photograph = load_sample_image("china.jpg")[None]
    for name, inputs, shape in (("backbone", ["images"], (1, 64)), ("energy", ["first", "second"], (1,))):
        path = made / f"models/export/{name}.onnx"
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (output,) = session.run(None, dict.fromkeys(inputs, photograph))
        assert output.shape == shape
    assert output[0] == pytest.approx(-1 / 0.2, abs=1e-4)  # an image with itself: cosine 1, divided by the temperature


def set_export(project: Path, **values: Any) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["export"] |= values
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def export(project: Path) -> str:
    """Run the stage in a project; return its output."""
    with contextlib.chdir(project):
        done = CliRunner().invoke(ssl_pipeline_stages.export.export, [], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_another_process_writes_the_same_variants(made: Path, project: Path):
    set_export(project, variants=["fp32", "fp16", "int8"])
    export(project)
    for name in ("backbone.onnx", "backbone_fp16.onnx", "backbone_int8.onnx"):
        assert (project / "models/export" / name).read_bytes() == (made / "models/export" / name).read_bytes()
    report = json.loads((project / "reports/export/details.json").read_text())["variants"]
    assert report == json.loads((made / "reports/export/details.json").read_text())["variants"]
    assert {name: found["ships"] for name, found in report.items()} == {"fp16": True, "int8": True}
    assert report["int8"]["sha256"] == sha256(project / "models/export/backbone_int8.onnx")


def test_a_variant_that_fails_the_gate_stops_the_stage_and_leaves_no_file(made, project, monkeypatch):
    def as_before(folder: Path, *_: object) -> Any:  # for graphs that have been written and proved
        shutil.copytree(made / "models/export", folder, dirs_exist_ok=True)
        return json.loads((made / "reports/export/details.json").read_text())

    monkeypatch.setattr(release, "release", as_before)
    gate = yaml.safe_load((project / "params.yaml").read_text())["export"]["gate"]
    gate["int8"]["max_size"] = 0.1
    set_export(project, variants=["fp32", "int8"], gate=gate, on_gate_failure="stop")
    refused(project, "backbone_int8.onnx fails the gate", "max_size: 0.")


def test_a_middle_layer_ships_and_the_trained_energy_stays_that_of_the_last(made: Path, project: Path):
    set_export(project, layer=2)
    export(project)
    files = project / "models/export"
    report = json.loads((project / "reports/export/details.json").read_text())
    assert (report["layer"], report["embedding_dim"]) == (2, 32)
    assert report["parity"]["max_difference"] < 1e-4
    assert (files / "energy.onnx").read_bytes() == (made / "models/export/energy.onnx").read_bytes()
    session = open_session(files / "backbone.onnx")
    assert read_metadata(session)["layer"] == "2"
    encoder, _ = load_encoder(load_registry(), project / "models/pretrain")
    canvases = open_split(made / "data/ingested/store", "val").images(np.arange(9))
    with torch.no_grad():
        maps = encoder.maps(torch.from_numpy(canvases).permute(0, 3, 1, 2) / 255)[1]
        expected = torch.nn.functional.normalize(maps.mean(dim=(2, 3))).numpy()
    np.testing.assert_allclose(run(session, canvases), expected, atol=1e-5)


def test_an_encoder_that_was_shown_luminance_alone_ships_so(made: Path, headless: Path):
    session = open_session(headless / "models/export/backbone.onnx")
    assert read_metadata(session)["grayscale"] == "true"
    colours = load_sample_image("china.jpg")[None, :64, :64].copy()
    grey = (255 * luminance(torch.from_numpy(colours).movedim(-1, 1) / 255)).round().byte().movedim(1, -1)
    grey = grey.expand(-1, -1, -1, 3).numpy()
    np.testing.assert_allclose(run(session, colours), run(session, grey), atol=1e-3)  # 8-bit greys are rounded
    in_colour = open_session(made / "models/export/backbone.onnx")
    assert np.abs(run(in_colour, colours) - run(in_colour, grey)).max() > 0.01


def test_a_map_ships_in_a_file_of_its_own_proved_as_the_backbone_is(headless: Path):
    session = open_session(headless / "models/export/backbone_maps.onnx")
    given = session.run(None, {"images": load_sample_image("china.jpg")[None]})
    assert [array.shape for array in given] == [(1, 16), (1, 32, 8, 8)]
    proof = json.loads((headless / "reports/export/details.json").read_text())["parity"]["with_maps"]
    assert (proof["originals"], [*proof["maps"]]) == (5, ["map_2"])
    assert max(proof["max_difference"], proof["maps"]["map_2"]["max_difference"]) < 1e-4


def test_without_an_energy_of_its_own_the_cosine_is_of_the_embeddings_that_ship(headless: Path):
    files = headless / "models/export"
    energy = open_session(files / "energy.onnx")
    metadata = read_metadata(energy)
    assert (metadata["energy"], metadata["layer"]) == ("negative_cosine_of_embeddings", "1")
    canvases = open_split(headless / "data/ingested/store", "val").images(np.arange(9))
    embeddings = run(open_session(files / "backbone.onnx"), canvases)
    assert embeddings.shape == (9, 16)
    expected = -(embeddings * np.roll(embeddings, 1, axis=0)).sum(axis=1)
    np.testing.assert_allclose(run(energy, canvases, np.roll(canvases, 1, axis=0)), expected, atol=1e-5)


def test_a_layer_that_the_backbone_does_not_have_is_named(project: Path):
    set_export(project, layer=4)
    refused(project, "export.layer: 4, but this backbone (resnet_cifar) has layers 1 to 3", status=2)


def test_weights_that_are_not_those_of_the_card_are_refused(project: Path):
    path = project / "models/pretrain/encoder.safetensors"
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file({name: value + 1 for name, value in weights.items()}, path)
    record(path)  # the file of another run, moved here with its digest
    refused(project, "encoder.safetensors is not the file that models/pretrain/model.json describes")


def test_an_encoder_that_maps_all_to_one_point_is_not_released(project: Path):
    path = project / "models/pretrain/encoder.safetensors"
    weights = safetensors.torch.load_file(path)
    collapsed = {
        name: value * 0 if name.startswith("backbone") and "running" not in name else value
        for name, value in weights.items()
    }
    safetensors.torch.save_file(collapsed, path)
    record(path)
    card = project / "models/pretrain/model.json"
    write_product(card, {**json.loads(card.read_text()), "weights_sha256": sha256(path)})
    refused(project, "outputs do not vary")


@pytest.mark.parametrize(
    ("missing", "stage"),
    [
        ("data/augmented/policy.json", "augment"),
        ("data/ingested/store/originals.npz", "ingest"),
        ("data/ingested/store/val", "ingest"),
        ("models/pretrain/model.json", "pretrain"),
        ("models/pretrain/energy_head.safetensors", "pretrain"),
    ],
)
def test_a_stage_that_has_not_run_is_named(project: Path, missing: str, stage: str):
    path = project / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    refused(project, f"{missing}", f"does not exist: the stage '{stage}' makes it")


def refused(project: Path, *words: str, status: int = 1) -> None:
    """Check that the stage fails with one message and leaves no product."""
    with contextlib.chdir(project):
        done = CliRunner().invoke(ssl_pipeline_stages.export.export, [])
    assert done.exit_code == status
    assert done.stderr.startswith("error: ")
    for word in words:
        assert word in done.stderr
    assert not list((project / "models").glob("*export*"))
    assert not (project / "reports").exists()
