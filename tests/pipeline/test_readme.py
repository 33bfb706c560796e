"""README is true and its code runs; test_experiments.py runs its commands."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from PIL import Image

from benchmarks.project import ROOT, change, copy_project
from ssl_pipeline.config import load
from tests.pipeline.conftest import command
from tests.pipeline.pages import DOCS, blocks, commands

README = ROOT / "README.md"
IN_CI = {"make repro", "make test"}
INSTALLS = ("python3 -m venv", "pip install")
BEGINS = ("ssl-pipeline init shop --images", "cd shop && dvc repro", "cd shop && ssl-pipeline check")
"""Commands that .ci/check_wheel.py runs."""
OPENS = ("ssl-pipeline report --open",)
"""Commands that open a browser; they are tested elsewhere."""
MOST_LINES = 140


def test_the_two_make_commands_are_run_by_ci():
    script = (ROOT / ".ci" / "run").read_text()
    assert set(commands([README])) >= IN_CI
    assert "make test" in script
    assert 'make -C "$copy" repro' in script


def test_a_project_of_its_own_is_begun_by_ci_from_the_wheel():
    script = (ROOT / ".ci" / "check_wheel.py").read_text()
    assert "check_wheel.py" in (ROOT / ".ci" / "run").read_text()
    assert 'run("ssl-pipeline", "init", "shop", "--images", ' in script
    assert 'run("dvc", "repro", folder=shop)' in script
    assert 'run("ssl-pipeline", "embed", ' in script
    assert 'run("ssl-pipeline", "search", ' in script
    assert 'run("ssl-pipeline", "verify", ' in script
    assert 'run("python", "models/bundle/verify.py", ' in script


def test_make_says_what_there_is_to_make():
    said = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"^([\w-]+) {2,}\w", said, re.MULTILINE) == targets


def test_the_plain_pip_lines_are_those_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    assert "--constraint constraints.txt --editable '.[test]'" in makefile
    lines = commands([ROOT / "CONTRIBUTING.md"])
    assert any("--constraint constraints.txt --editable '.[test]'" in line for line in lines)


def test_the_readme_is_two_screens_and_every_page_of_the_docs_is_in_the_navigation():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    assert [page.name for page in DOCS.glob("*.md") if f": {page.name}\n" not in navigation] == []


def test_the_lines_for_your_own_images_run_in_an_unpacked_archive_without_git(tmp_path: Path):
    project = tmp_path / "archive"
    copy_project(project)
    (project / "images").mkdir()
    run = command(project)
    run("dvc", "config", "--local", "core.no_scm", "true")
    section, rivals = [yaml.safe_load(blocks(DOCS / name, "yaml")[0]) for name in ("images.md", "compare.md")]
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert set(section["ingest"]) <= set(shipped["ingest"])
    change(project, **section)
    for index in range(24):
        Image.effect_noise((90, 70), 40 + index).convert("RGB").save(project / "images" / f"{index}.png")
    run("dvc", "repro", "-q", "ingest")
    assert (project / "data/ingested/manifest.json").is_file()
    change(project, **rivals)
    assert len(load(project / "params.yaml").linear_eval.rivals) == 4


def test_the_deployment_code_runs_outside_the_project(finished: Path, tmp_path: Path):
    code = next(block for block in blocks(README, "python") if "onnxruntime" in block)
    folder = tmp_path / "elsewhere"
    (folder / "models/bundle").mkdir(parents=True)
    (folder / "models/bundle/backbone.onnx").write_bytes((finished / "models/bundle/backbone.onnx").read_bytes())
    Image.effect_noise((50, 40), 60).convert("RGB").save(folder / "photo.png")
    done = command(folder)("python", "-c", code)
    assert float(done.stdout) == pytest.approx(1.0, abs=1e-5)


def test_every_hook_stands_in_the_table_with_names_that_it_added_and_where_the_others_are():
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.registry import KINDS

    registry, page = load_registry(), (DOCS / "plugins.md").read_text(encoding="utf-8")
    for kind, hook in KINDS.items():
        ((examples, folder),) = re.findall(rf"^\| `{hook}` \| .* \|(.*): `(plugins/.*)` \|$", page, re.MULTILINE)
        names = [name.replace("…", "") for name in re.findall("`([^`]*)`", examples)]
        assert names
        assert set(names) <= set(registry.names(kind))
        assert (ROOT / folder).is_dir()


def test_the_pictures_are_there():
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README.read_text(encoding="utf-8")):
        assert (ROOT / path).is_file()
