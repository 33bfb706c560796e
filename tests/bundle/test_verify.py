"""A bundle is checked on the machine where it runs: first its files, then what its graphs compute."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

from ssl_pipeline.bundle import verify as script
from ssl_pipeline.bundle.verify import BundleError, compare, verify
from ssl_pipeline.bundle.writing import seal
from ssl_pipeline.deployment.execution import cuda_devices
from ssl_pipeline_stages.main import main

FILES = [
    "backbone.onnx",
    "bundle.json",
    "checksums.txt",
    "classifier.onnx",
    "example.py",
    "golden.npz",
    "linear_probe.onnx",
    "model_card.md",
    "verify.py",
]


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def refusal(bundle: Path, providers: str = "cpu") -> BundleError:
    with pytest.raises(BundleError) as caught:
        verify(bundle, providers, lambda _: None)
    return caught.value


def run_script(bundle: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the bundle's own verify.py, without access to this package."""
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-P", "verify.py", *words]
    return subprocess.run(command, cwd=bundle, env=variables, capture_output=True, text=True, check=False)


def test_a_bundle_as_it_was_written_is_well(made: Path):
    lines: list[str] = []
    verify(made, say=lines.append)
    assert "9 files are intact" in lines[0]
    assert [line.split(":")[0] for line in lines[1:]] == ["backbone.onnx", "linear_probe.onnx", "classifier.onnx"]
    assert "fp32 on CPUExecutionProvider: 3 cases, largest difference 0.0e+00 (bound 1e-04)" in lines[1]


def test_checksums_are_those_of_sha256sum(made: Path):
    assert subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "checksums.txt"], cwd=made).returncode == 0


@pytest.mark.parametrize("name", [name for name in FILES if name != "checksums.txt"])
def test_one_bit_of_a_file_is_enough(bundle: Path, name: str):
    flip(bundle / name, (bundle / name).stat().st_size // 2)
    assert str(refusal(bundle)) == f"{name}: damaged: its SHA-256 differs from that in checksums.txt"


def test_outputs_would_not_tell_of_a_bit_of_the_weights(bundle: Path):
    """This is why the checksums come first."""
    path = bundle / "backbone.onnx"
    weights = next(value for value in onnx.load(path).graph.initializer if value.name == "weights")
    flip(path, path.read_bytes().index(weights.raw_data))
    seal(bundle)
    verify(bundle, say=lambda _: None)


def test_a_missing_and_a_strange_file_are_named(bundle: Path):
    (bundle / "verify.py").unlink()
    (bundle / "notes\n.txt").write_text("mine")
    (bundle / "more").mkdir()
    (bundle / "more/link").symlink_to(bundle)
    assert str(refusal(bundle)).splitlines() == [
        "verify.py: missing",
        "more/link: not part of the bundle",
        "notes\\n.txt: not part of the bundle",
    ]


def test_what_is_wrong_is_told_in_a_bounded_number_of_lines(bundle: Path):
    for number in range(30):
        (bundle / f"{number}.txt").touch()
    assert str(refusal(bundle)).splitlines()[10:] == ["and 20 more"]


@pytest.mark.parametrize(
    "text", ["", "no checksums", "\0", "a" * 64 + "  ../x\n", "a" * 64 + "  /etc/passwd\n", "\xff"]
)
def test_damaged_checksums_are_refused_and_lead_nowhere_else(bundle: Path, text: str):
    (bundle / "checksums.txt").write_bytes(text.encode("latin-1"))
    error = refusal(bundle)
    assert "checksums.txt: damaged" in str(error)
    assert error.status == 1


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "..\\\\x"])
def test_a_name_that_leads_out_of_the_bundle_is_damage(bundle: Path, name: str):
    with (bundle / "checksums.txt").open("a") as file:
        file.write(f"{'a' * 64}  {name}\n")
    assert "checksums.txt: damaged" in str(refusal(bundle))


@pytest.mark.parametrize("what", ["nowhere", "file", "empty"])
def test_what_is_no_bundle_is_not_here(tmp_path: Path, what: str):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    error = refusal(tmp_path / what)
    assert "is not a bundle: checksums.txt cannot be read" in str(error)
    assert error.status == 2


def change_golden(bundle: Path, change: float) -> None:
    """Move the embedding of the first golden image by a share of its largest component."""
    with np.load(bundle / "golden.npz") as file:
        arrays = dict(file)
    golden = arrays["backbone.onnx/0/embedding"]
    golden[0, 3] += change * np.abs(golden[0]).max()
    np.savez(bundle / "golden.npz", **arrays)
    seal(bundle)


@pytest.mark.parametrize(("change", "well"), [(5e-5, True), (1.5e-4, False), (float("nan"), False)])
def test_a_graph_that_computes_something_else_here_is_told(bundle: Path, change: float, well: bool):
    change_golden(bundle, change)
    if well:
        verify(bundle, say=lambda _: None)
        return
    error = refusal(bundle)
    assert str(error).startswith("backbone.onnx: computes something else here: case 0, embedding: difference ")
    assert error.status == 1


def test_all_graphs_are_tried_and_one_that_cannot_be_loaded_is_told(bundle: Path):
    (bundle / "backbone.onnx").write_bytes(b"no graph")
    seal(bundle)
    lines: list[str] = []
    with pytest.raises(BundleError, match=r"^backbone.onnx: onnxruntime .* cannot load it: "):
        verify(bundle, say=lines.append)
    assert [line.split(":")[0] for line in lines[1:]] == ["linear_probe.onnx", "classifier.onnx"]


@pytest.mark.parametrize("providers", ["abacus", "cpu,abacus", ""])
def test_a_provider_that_there_is_not_is_told_with_those_that_there_are(made: Path, providers: str):
    error = refusal(made, providers)
    assert f"has no '{providers.split(',')[-1]}' here; it has " in str(error)
    assert "cpu" in str(error)
    assert error.status == 2


@pytest.mark.parametrize("providers", ["cpu", "CPU", "CPUExecutionProvider"])
def test_a_provider_has_a_short_name(made: Path, providers: str):
    verify(made, providers, lambda _: None)


@pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers() or cuda_devices() > 0,
    reason="needs an onnxruntime built for CUDA, on a machine without a CUDA device",
)
def test_a_provider_that_does_not_work_is_not_replaced_silently(made: Path, capfd: pytest.CaptureFixture[str]):
    error = refusal(made, "cuda,cpu")
    assert "CUDAExecutionProvider does not work here: onnxruntime fell back to CPUExecutionProvider" in str(error)
    assert error.status == 2


def test_a_bundle_of_a_later_format_is_not_misread(bundle: Path):
    contents = (bundle / "bundle.json").read_text().replace('"format": 1', '"format": 2')
    (bundle / "bundle.json").write_text(contents)
    seal(bundle)
    error = refusal(bundle)
    assert "run the verify.py in the bundle itself" in str(error)
    assert error.status == 2


@pytest.mark.parametrize("name", ["../backbone.onnx", "/etc/x.onnx", "model_card.md", None])
def test_what_is_proved_are_the_graphs_that_are_there_and_no_other_file(bundle: Path, name: str | None):
    contents = json.loads((bundle / "bundle.json").read_text())
    graph = contents["graphs"].pop("classifier.onnx")
    contents["graphs"] |= {} if name is None else {name: graph}
    shutil.copy(bundle / "classifier.onnx", bundle.parent / "backbone.onnx")
    (bundle / "bundle.json").write_text(json.dumps(contents))
    seal(bundle)
    error = refusal(bundle)
    told = ", ".join(sorted({name or "classifier.onnx", "classifier.onnx"}))
    assert str(error) == f"bundle.json: does not match the graphs in the folder: {told}"
    assert error.status == 1


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "graphs": null}', "[" * 10_000, "\xff"]
)
def test_damaged_contents_have_no_traceback(bundle: Path, text: str):
    (bundle / "bundle.json").write_bytes(text.encode("latin-1"))
    seal(bundle)
    assert str(refusal(bundle)).startswith("bundle.json: damaged (")


@pytest.mark.parametrize("graph", [None, {}, {"cases": [{"inputs": {"images": "gone"}, "outputs": {}}]}, {"cases": 3}])
def test_a_graph_of_which_too_little_is_told_is_named(bundle: Path, graph: object):
    contents = json.loads((bundle / "bundle.json").read_text())
    contents["graphs"]["classifier.onnx"] = graph
    (bundle / "bundle.json").write_text(json.dumps(contents))
    seal(bundle)
    assert str(refusal(bundle)).startswith("classifier.onnx: bundle.json or golden.npz lacks its golden outputs (")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_golden_outputs_that_cannot_be_read_have_no_traceback(bundle: Path, content: bytes):
    (bundle / "golden.npz").write_bytes(content)
    seal(bundle)
    assert str(refusal(bundle)).startswith("golden.npz: cannot be read (")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (np.array([[3.0, 4.0]]), (0.0, 1.0)),
        (np.array([[3.0, 4.2]]), (0.05, 0.9998)),
        (np.array([[3.0, np.inf]]), (np.inf, -1.0)),
        (np.array([[3.0]]), (np.inf, -1.0)),
        (np.zeros((2, 2)), (np.inf, -1.0)),
    ],
)
def test_rows_are_compared_by_their_largest_component_and_their_cosine(
    found: np.ndarray, expected: tuple[float, float]
):
    assert compare(found, np.array([[3.0, 4.0]], np.float32)) == pytest.approx(expected, abs=1e-4)


def test_the_script_stands_alone_on_an_old_python():
    source = Path(script.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 9))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    strangers = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert strangers == {"numpy", "onnxruntime"}


def test_the_script_and_the_command_say_the_same(bundle: Path):
    done = run_script(bundle)
    assert (done.returncode, done.stderr) == (0, "")
    command = CliRunner().invoke(main, ["verify", str(bundle)])
    assert command.exit_code == 0
    assert command.output == done.stdout
    (bundle / "golden.npz").unlink()
    done = run_script(bundle)
    command = CliRunner().invoke(main, ["verify", str(bundle)])
    assert done.returncode == command.exit_code == 1
    assert done.stderr == command.stderr == "error: golden.npz: missing\n"


def test_a_provider_that_is_not_there_has_a_status_of_its_own(made: Path):
    done = run_script(made, "--providers", "abacus")
    command = CliRunner().invoke(main, ["verify", str(made), "--providers", "abacus"])
    assert done.returncode == command.exit_code == 2
    assert done.stderr == command.stderr
