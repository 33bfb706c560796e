"""Check the wheel as a user would: install it in place of the clone, create a project in an empty folder, run it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

root = Path(__file__).resolve().parents[1]  # as committed, because other checks have changed the parameters of the copy
bin_folder = Path(sys.argv[1]) / ".venv/bin"
PACKAGES = ("ssl_pipeline", "ssl_pipeline_plugins", "ssl_pipeline_stages")
IMAGES = """
from pathlib import Path
from PIL import Image
from sklearn.datasets import load_digits
digits = load_digits()
for number in range(400):
    folder = Path("my images", str(digits.target[number]))
    folder.mkdir(parents=True, exist_ok=True)
    pixels = (digits.images[number] * 255 / 16).astype("uint8")
    Image.fromarray(pixels).resize((16, 16)).save(folder / f"{number}.png")
"""


def run(*words: object, folder: Path) -> str:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    print("+", *words, flush=True)
    done = subprocess.run([*map(str, words)], cwd=folder, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, flush=True)
    return done.stdout


def install(folder: Path) -> None:
    """Replace the clone by the wheel, whose dependencies are already installed with the same constraints."""
    python = bin_folder / "python"
    run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, root, folder=folder)
    (wheel,) = folder.glob("ssl_pipeline-*.whl")
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "ssl-pipeline", folder=folder)
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, folder=folder)
    run(python, "-m", "pip", "check", folder=folder)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        install(folder)
        places = "; ".join(f"import {name}; print({name}.__file__)" for name in PACKAGES)
        for place in run("python", "-c", places, folder=folder).splitlines():
            assert "site-packages" in place, f"{place} is not the installed package"
        said = run("ssl-pipeline", "--help", folder=folder)
        for name in ("init", "plan", "check", "plugins", "inventory", "finetune"):
            assert f"  {name} " in said, f"--help does not list {name}"
        run("python", "-c", IMAGES, folder=folder)
        run("ssl-pipeline", "init", "shop", "--images", "my images", "--hours", "0.05", folder=folder)
        shop = folder / "shop"
        run("ssl-pipeline", "check", folder=shop)
        run("ssl-pipeline", "skeleton", "my-loss", "my-loss", folder=folder)
        run("dvc", "repro", folder=shop)
        run("ssl-pipeline", "summary", folder=shop)
        said = run("ssl-pipeline", "embed", "../my images/0", "../my images/1", folder=shop)
        assert "embeddings.parquet: " in said, said
        query = "../my images/0/0.png"
        said = run("ssl-pipeline", "search", query, "--index", "embeddings.parquet", folder=shop)
        assert said.splitlines()[1].split(maxsplit=2) == ["1", "1.0000", query], said
        for graph in ("export/backbone.onnx", "linear_eval/linear_probe.onnx", "finetune/classifier.onnx"):
            assert (shop / "models" / graph).is_file(), f"{graph} is missing"
        run("ssl-pipeline", "verify", "models/bundle", folder=shop)
        run("python", "models/bundle/verify.py", folder=shop)
        run("git", "add", "--all", folder=shop)
        kept = run("git", "ls-files", folder=shop).splitlines()
        assert {"dvc.lock", "params.yaml", "plugins.lock", "reports/export/metrics.json"} <= set(kept), kept
        assert not any(name.endswith((".onnx", ".npy", ".safetensors")) for name in kept), kept
    print("the wheel created a project in an empty folder and ran it")


main()
