"""Promises about the shape of the code."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from ssl_pipeline_stages import STAGES
from ssl_pipeline_stages.main import COMMANDS

ROOT = Path(__file__).parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
HEAVY = ("torch", "torchvision", "timm", "sklearn", "matplotlib", "onnx", "onnxruntime", "scipy")


def loaded_by(code: str) -> list[str]:
    """Return the heavy packages that a piece of code imports, run in a separate process."""
    probe = f"import sys\n{code}\nprint(','.join(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.splitlines()[-1].split(",") if name]


def test_importing_the_package_imports_nothing_heavy():
    assert loaded_by("import ssl_pipeline, ssl_pipeline.config, ssl_pipeline.hookspecs, ssl_pipeline_stages.main") == []


@pytest.mark.parametrize(("name", "options"), [("digits", {}), ("folder", {}), ("torchvision", {"dataset": "SVHN"})])
def test_the_files_of_a_built_in_source_are_listed_without_anything_heavy(
    name: str, options: dict[str, str], tmp_path: Path
):
    (tmp_path / "1.png").touch()
    choice = f"Choice(name={name!r}, path={str(tmp_path)!r}, **{options!r})"
    code = f"from ssl_pipeline.loading import load_source\nfrom ssl_pipeline.config import Choice\nload_source({choice}).files()"
    assert loaded_by(code) == []


def test_asking_a_stage_or_a_tool_for_help_imports_nothing_heavy():
    code = (
        "from ssl_pipeline_stages.main import main\n"
        f"for name in {[*STAGES, *COMMANDS]!r}:\n"
        "    try: main([name, '--help'])\n"
        "    except SystemExit as done: assert done.code in (0, None), (name, done.code)\n"
        f"    assert not {set(HEAVY)!r} & sys.modules.keys(), name\n"
    )
    assert loaded_by(code) == []


def test_the_inventory_which_every_run_starts_imports_nothing_that_decodes():
    code = (
        "import ssl_pipeline_stages.inventory, ssl_pipeline_stages.code, ssl_pipeline.data.inventory\n"
        "assert 'ssl_pipeline.data.decode' not in sys.modules, 'decodes'"
    )
    assert loaded_by(code) == []


def test_stages_import_only_what_they_use():
    """Checks the imports at the top of each stage, not those inside functions that are rarely called."""
    code = f"""
import ast, pathlib
for name in {sorted(STAGES, key="linear_eval".__eq__)!r}:  # which draws, comes last
    assert name == "linear_eval" or "matplotlib" not in sys.modules, "drawing"
    tree = ast.parse(pathlib.Path('stages/ssl_pipeline_stages', name + '.py').read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(ast.unparse(node))
"""
    seldom = {"torchvision", "timm", "sklearn", "scipy"}
    assert not seldom & set(loaded_by(code))


def test_one_stage_alone_runs_always_and_so_needs_nothing_that_tells_when_to():
    always = [name for name, stage in PIPELINE.items() if stage.get("always_changed")]
    assert always == ["inventory"]
    assert PIPELINE["inventory"].keys() == {"desc", "cmd", "always_changed", "outs"}


def test_dvc_hears_of_stages_what_python_does():
    assert list(PIPELINE) == list(STAGES)
    for name, stage in STAGES.items():
        told = PIPELINE[name]
        own = [] if name == "inventory" else [f"data/code/{name}.json"]
        assert told["cmd"] == f"ssl-pipeline {name}"
        assert told["desc"] == stage.does
        assert told.get("params", []) == [*([stage.section] if stage.section else []), *stage.elsewhere]
        assert told.get("deps", []) == [*own, *stage.inputs], name
        listed = [item for key in ("outs", "metrics", "plots") for item in told.get(key, [])]
        assert {next(iter(item)) if isinstance(item, dict) else item for item in listed} == set(stage.outputs), name


def test_every_stage_has_a_row_in_the_table():
    folder = ROOT / "stages" / "ssl_pipeline_stages"
    written = {path.stem for path in folder.glob("*.py") if "\n@stage\n" in path.read_text()}
    assert written == set(STAGES), "add a row to STAGES in stages/ssl_pipeline_stages/__init__.py"


def test_every_stage_has_tests():
    found = {path.name for folder in ("stages", "data") for path in (ROOT / "tests" / folder).glob("test_*.py")}
    without = [name for name in STAGES if f"test_{name}.py" not in found]
    assert without == [], "add tests/stages/test_<name>.py"


def test_a_stage_reads_what_earlier_ones_write():
    written: tuple[str, ...] = ()
    for stage in STAGES.values():
        for path in stage.inputs:
            assert any(Path(path).is_relative_to(product) for product in written), path
        written += stage.outputs


def test_the_runtime_needs_no_torch():
    assert loaded_by("import ssl_pipeline.deployment.runtime") in (["onnxruntime"], ["onnx", "onnxruntime"], [])


def test_files_are_short_and_stages_thin():
    for folder, limit in [("ssl_pipeline", 300), ("plugins", 300), ("stages", 150), ("tests", 300)]:
        for path in (ROOT / folder).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= limit, path
    for name in STAGES:
        assert len((ROOT / "stages" / "ssl_pipeline_stages" / f"{name}.py").read_text().splitlines()) <= 60, name


def build(target: str, sources: Path, folder: Path) -> Path:
    words = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(words, cwd=sources, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.iterdir()
    return built


def test_the_wheel_holds_all_packages_and_templates_and_no_generic_names(tmp_path: Path):
    names = set(zipfile.ZipFile(build("wheel", ROOT, tmp_path / "wheel")).namelist())
    with tarfile.open(build("sdist", ROOT, tmp_path / "archive")) as archive:
        archive.extractall(tmp_path / "sources", filter="data")
    (sources,) = (tmp_path / "sources").iterdir()
    assert set(zipfile.ZipFile(build("wheel", sources, tmp_path / "again")).namelist()) == names
    project = "ssl_pipeline_stages/project/"
    templates = {name.removeprefix(project).split("/")[0] for name in names if name.startswith(project)}
    assert templates == {"README.md", "dvc.yaml", "dvcignore", "gitignore", "params.yaml", "plugin"}
    assert f"{project}plugin/pyproject.toml" in names
    for room in ("page", "bundle"):
        folder = f"ssl_pipeline/{room}/templates"
        assert {f"{folder}/{path.name}" for path in (ROOT / folder).iterdir()} <= names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "ssl_pipeline",
        "ssl_pipeline_plugins",
        "ssl_pipeline_stages",
    }


def test_the_public_names_are_pinned():
    import ssl_pipeline

    assert ssl_pipeline.__all__ == [
        "Criterion",
        "Pretrained",
        "Views",
        "__version__",
        "embed",
        "hookimpl",
        "loss",
        "pretrain",
        "state_dict",
    ]
    assert all(hasattr(ssl_pipeline, name) for name in ssl_pipeline.__all__)
    assert set(ssl_pipeline.__all__) <= set(dir(ssl_pipeline))


def test_embedding_and_the_names_of_the_library_need_no_torch():
    assert "torch" not in loaded_by("import ssl_pipeline; dir(ssl_pipeline); ssl_pipeline.embed")
