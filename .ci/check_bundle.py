"""Check the bundle of a default run as a recipient would: it verifies itself with only numpy and onnxruntime."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

root = Path(sys.argv[1])
LIBRARIES = {"numpy": "numpy", "onnxruntime": "onnxruntime-gpu", "pillow": "pillow"}
"""Package to install -> package whose version constraints.txt pins: the wheel for CPUs has the same releases."""


def run(*words: object, folder: Path, status: int = 0) -> str:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    print("+", *words, flush=True)
    done = subprocess.run([*map(str, words)], cwd=folder, env=variables, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, sep="", flush=True)
    assert done.returncode == status, f"the exit status is {done.returncode}, not {status}"
    return done.stdout + done.stderr


def main() -> None:
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", (root / "constraints.txt").read_text(), re.MULTILINE))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bundle = shutil.copytree(root / "models/bundle", folder / "bundle")
        run(sys.executable, "-m", "venv", "bare", folder=folder)
        python = folder / "bare/bin/python"
        wanted = [f"{name}=={pinned[other]}" for name, other in LIBRARIES.items() if name != "pillow"]
        run(python, "-m", "pip", "install", "--quiet", *wanted, folder=folder)
        said = run(python, "verify.py", folder=bundle)
        for name in ("backbone", "linear_probe", "classifier"):
            assert f"{name}.onnx: fp32 on CPUExecutionProvider: " in said, f"{name}.onnx was not verified"
        run("sha256sum", "--check", "--quiet", "checksums.txt", folder=bundle)
        run(python, "-m", "pip", "install", "--quiet", f"pillow=={pinned[LIBRARIES['pillow']]}", folder=folder)
        picture = root / "data/augmented/preview.png"
        assert run(python, "example.py", picture, folder=bundle) == f"1.0000  {picture}\n"
        content = bytearray((bundle / "backbone.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        (bundle / "backbone.onnx").write_bytes(content)
        assert "backbone.onnx: damaged" in run(python, "verify.py", folder=bundle, status=1)
    print("the bundle verified itself with only numpy and onnxruntime")


main()
