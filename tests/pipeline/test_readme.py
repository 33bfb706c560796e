"""Every command and every piece of code in the README works."""

import csv
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from PIL import Image

from benchmarks.project import ROOT, change
from ssl_pipeline.config import load
from tests.pipeline.conftest import command
from tests.pipeline.test_dvc import changed

README = (ROOT / "README.md").read_text()
IN_CI = {"make repro", "make test"}
INSTALLS = ("python3 -m venv", "pip install", "python -m pytest")
BEGINS = ("ssl-pipeline init shop --images", "cd shop && dvc repro")
"""What .ci/check_wheel.py runs."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = [line.partition("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


def test_the_two_make_commands_are_run_by_ci():
    script = (ROOT / ".ci" / "run").read_text()
    assert set(commands()) >= IN_CI
    assert "make test" in script
    assert 'make -C "$copy" repro' in script


def test_a_project_of_its_own_is_begun_by_ci_from_the_wheel():
    script = (ROOT / ".ci" / "check_wheel.py").read_text()
    assert "check_wheel.py" in (ROOT / ".ci" / "run").read_text()
    assert 'run("ssl-pipeline", "init", "shop", "--images", ' in script
    assert 'run("dvc", "repro", folder=shop)' in script


@pytest.mark.slow
def test_every_other_command_runs(project: Path):
    run = command(project)
    run("git", "add", ".")
    run("git", "commit", "-qm", "ran", status=None)
    skipped = []
    for line in commands():
        if line in IN_CI or line.startswith((*INSTALLS, *BEGINS)):
            skipped.append(line)
            continue
        shorter = line.replace("pretrain.epochs=5", "pretrain.epochs=2").replace(
            "temperature=0.1,0.5", "temperature=0.1"
        )
        run(*shlex.split(shorter))
    assert len(skipped) == len(IN_CI) + len(INSTALLS) + 1 + len(BEGINS)  # pip installs a clone and a wheel
    experiments = list(csv.DictReader(run("dvc", "exp", "show", "--csv").stdout.splitlines()))
    assert any(row["Experiment"] and row["pretrain.epochs"] == "2" for row in experiments)
    done = [row for row in experiments if row["State"] == "Success"]
    assert "0.1" in {row["pretrain.loss.temperature"] for row in done}
    swept = {row["pretrain.recipe"]: row["accuracy"] for row in done if row["pretrain.recipe"] != "simclr"}
    assert set(swept) == {"triplet", "mocov2"}
    assert len(set(swept.values())) == 2  # each has a probe of its own
    (show,) = [line for line in commands() if line.startswith("dvc exp show")]
    table = command(project, COLUMNS="160")(*shlex.split(show)).stdout
    assert "…" not in table
    assert all(name in table for name in ("accuracy", "pretrain.recipe", "pretrain.loss.temperature"))


def test_make_says_what_there_is_to_make():
    said = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"^(\w+)\t", said, re.MULTILINE) == targets


def test_the_plain_pip_lines_are_those_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    assert "--constraint constraints.txt --editable '.[test]'" in makefile
    assert any("--constraint constraints.txt --editable '.[test]'" in line for line in commands())


def test_the_lines_for_your_own_images_are_valid_parameters(project: Path):
    section, rivals = [yaml.safe_load(block) for block in blocks("yaml")]
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert set(section["ingest"]) <= set(shipped["ingest"])
    change(project, **section)
    for index in range(24):
        Image.effect_noise((90, 70), 40 + index).convert("RGB").save(project / "images" / f"{index}.png")
    command(project)("dvc", "repro", "-q", "ingest")
    change(project, **rivals)
    assert len(load(project / "params.yaml").linear_eval.rivals) == 4


def test_the_deployment_code_runs_outside_the_project(project: Path, tmp_path: Path):
    code = next(block for block in blocks("python") if "onnxruntime" in block)
    folder = tmp_path / "elsewhere"
    (folder / "models/export").mkdir(parents=True)
    (folder / "models/export/backbone.onnx").write_bytes((project / "models/export/backbone.onnx").read_bytes())
    Image.effect_noise((50, 40), 60).convert("RGB").save(folder / "photo.png")
    done = command(folder)("python", "-c", code)
    assert float(done.stdout) == pytest.approx(1.0, abs=1e-5)


def test_the_plugin_trains(project: Path, tmp_path: Path):
    code = next(block for block in blocks("python") if "hookimpl" in block)
    site = tmp_path / "site"
    info = site / "my_losses-0.1.dist-info"
    info.mkdir(parents=True)
    (site / "my_losses.py").write_text(code)
    (toml,) = blocks("toml")
    assert 'my_losses = "my_losses"' in toml
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-losses\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[ssl_pipeline]\nmy_losses = my_losses\n")
    change(project, pretrain={"loss": {"name": "margin", "margin": 0.3}, "epochs": 2})
    run = command(project, PYTHONPATH=str(site))
    assert "my-losses 0.1" in run("python", "-m", "ssl_pipeline", "plugins").stdout
    run("dvc", "repro", "-q", "pretrain")
    assert '"my-losses": "0.1"' in (project / "models/pretrain/model.json").read_text()
    (site / "my_losses.py").write_text(code + "# an upgrade\n")
    assert "(my-losses 0.1)" in run("dvc", "repro", "inventory").stderr
    assert {"pretrain", "export"} <= changed(project)
    without = command(project)
    for words, status in ((["python", "-m", "ssl_pipeline", "pretrain"], 2), (["dvc", "repro"], 255)):
        gone = without(*words, status=status)
        assert "came with my-losses 0.1: pip install it again" in gone.stderr
    assert (project / "models/pretrain/model.json").is_file()  # dvc removes the products of a stage that it runs


def test_every_hook_stands_in_the_table_with_names_that_it_added_and_where_the_others_are():
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.registry import KINDS

    registry = load_registry()
    for kind, hook in KINDS.items():
        ((examples, folder),) = re.findall(rf"^\| `{hook}` \| .* \|(.*): \[.*\]\((.*)\) \|$", README, re.MULTILINE)
        names = [name.replace("…", "") for name in re.findall("`([^`]*)`", examples)]
        assert names
        assert set(names) <= set(registry.names(kind))
        assert (ROOT / folder).is_dir()


def test_the_pictures_are_there():
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file()
