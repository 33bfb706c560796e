"""A folder of images under DVC: DVC compares exactly what `ingest` reads, whatever the folder contains."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from benchmarks.project import ROOT, change
from ssl_pipeline_stages.ingest import ingest
from ssl_pipeline_stages.inventory import inventory
from tests.pipeline.conftest import IMAGES, command, git
from tests.pipeline.test_dvc import changed, ran
from tests.test_architecture import HEAVY


def test_what_dvc_does_not_see_or_cannot_read_is_in_the_inventory(project: Path, tmp_path: Path):
    run, images = command(project), project / "images"
    for path in sorted((tmp_path / "elsewhere").iterdir())[:5]:  # the target of the link images/7
        path.unlink()
    run("dvc", "repro", "-q", "inventory")
    assert "ingest" in changed(project)
    (images / ".dvc").mkdir()
    (images / "gone.png").symlink_to("/nowhere/photo.png")
    os.mkfifo(images / "pipe.png")
    Path(os.fsdecode(os.fsencode(images) + b"/caf\xe9.png")).write_bytes((images / "1" / "0001.png").read_bytes())
    assert ran(run("dvc", "repro", "ingest").stdout) == ["inventory", "ingest"]
    counts = json.loads((project / "reports/ingest/details.json").read_text())
    assert (counts["train"] + counts["val"] + counts["test"], counts["rejected"]) == (IMAGES - 5, 3)
    (images / "1" / "0001.png").unlink()  # dvc alone would not notice this, because of images/.dvc
    run("dvc", "repro", "-q", "inventory")
    assert "ingest" in changed(project)


def test_a_clone_has_nothing_to_run_as_ci_does_it_with_the_images_and_without(project: Path, tmp_path: Path):
    run, images = command(project), project / "images"
    (images / "7").unlink()
    shutil.copytree(tmp_path / "elsewhere", images / "7")  # dvc would not follow the link
    run("dvc", "add", "-q", "images")
    run("git", "add", ".")
    run("dvc", "remote", "add", "-q", "--default", "store", str(tmp_path / "store"))
    run("git", "commit", "-qam", "images")
    run("dvc", "push", "-q")
    run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    second = command(tmp_path / "clone")
    steps = yaml.safe_load((ROOT / "examples/ci/pipeline.yml").read_text())["jobs"]["repro"]["steps"]
    lines = [line for step in steps if (line := step.get("run", "")).startswith("dvc")]
    assert len(lines) == 3
    outputs = [second(*line.partition(" >>")[0].split()).stdout for line in lines]
    assert ran(outputs[1]) == ["inventory"]
    assert not (tmp_path / "clone" / "models").exists()
    second("dvc", "pull", "-q", "--allow-missing")
    assert ran(second("dvc", "repro").stdout) == ["inventory"]
    shutil.rmtree(tmp_path / "clone" / "images")
    done = second("dvc", "repro", "finetune")
    assert ran(done.stdout) == ["inventory"]
    assert f"images is not available here: the inventory of its {IMAGES} files is kept unchanged." in done.stderr
    assert second("git", "status", "--short").stdout == ""


def test_a_copy_made_by_dvc_finds_the_images_of_the_workspace_and_a_file_in_my_plugins_that_git_knows(project: Path):
    run = command(project)
    git(run)
    (project / "my_plugins").mkdir()
    (project / "my_plugins" / "margin.py").write_text(
        "from ssl_pipeline_plugins.losses.info_nce import InfoNCE\nfrom ssl_pipeline import hookimpl\n\n"
        "@hookimpl\ndef register_losses(register):\n    register('margin', InfoNCE)\n"
    )
    change(project, pretrain={"loss": {"name": "margin", "temperature": 0.3}})
    run("git", "add", "my_plugins")  # the inventory finds each plugin that params.yaml names
    for words in ([], ["-C", "images"]):
        done = run("dvc", "exp", "run", "--temp", *words, "inventory")
        assert f"inventory: {IMAGES} files\n" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", r"ingest.source.path: nowhere does not exist"),
        ("~/nowhere", r"ingest.source.path: /.*/nowhere does not exist"),
        (2024, r"ingest.source.path: .* write it in quotes"),
        ("params.yaml", r"ingest.source.path: params.yaml is neither a directory nor a complete .zip"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | int, message: str
):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    change(tmp_path, ingest={"source": {"name": "folder", "path": path}})
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(inventory, [])
    if done.exit_code == 0:  # a single file can be listed
        done = CliRunner().invoke(ingest, [])
    assert done.exit_code in (1, 2)
    assert isinstance(done.exception, SystemExit)  # not a traceback
    assert re.search(f"^error: {message}", done.stderr, re.MULTILINE), done.stderr


def test_dvc_passes_such_a_sentence_on(project: Path):
    change(project, ingest={"source": {"name": "folder", "path": "nowhere"}})
    done = command(project)("dvc", "repro", "ingest", status=255)
    assert re.search(r"^error: ingest\.source\.path: nowhere does not exist", done.stderr, re.MULTILINE), done.stderr
    assert "Traceback" not in done.stderr


def test_ingest_can_be_frozen(project: Path):
    run = command(project)
    run("dvc", "freeze", "ingest")
    change(project, ingest={"seed": 1})
    assert ran(run("dvc", "repro", "ingest").stdout) == []


def test_a_run_that_changes_nothing_imports_nothing_heavy(project: Path):
    probe = f"import sys\nfrom ssl_pipeline_stages.main import main\ntry: main(['inventory'])\nexcept SystemExit as end: print(end.code, *({set(HEAVY)!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "0\n"
    assert done.stderr == f"inventory: {IMAGES} files\n"
