"""Check that the bundle of a default run computes its golden outputs in onnxruntime-web under Node.js as well."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ssl_pipeline.bundle.verify import compare

root = Path(sys.argv[1])
PACKAGE = "onnxruntime-web@1.30.0"
PATIENCE = 300  # seconds


def install(folder: Path) -> str:
    """Install the package into a folder; return why this failed, or ""."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed"
    words = ["npm", "install", "--no-fund", "--no-audit", "--ignore-scripts", PACKAGE]
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"npm did not install {PACKAGE} within {PATIENCE} s"
    said = " ".join(line.removeprefix("npm error").strip() for line in done.stderr.splitlines()[:3])
    return f"npm cannot install {PACKAGE}: {said}" if done.returncode else ""


def asked(folder: Path, bundle: Path, name: str, graph: Any, golden: Any) -> dict[str, Any]:
    """Write the golden inputs of a graph as raw arrays; return the cases for web.mjs to run."""
    cases = []
    for number, case in enumerate(graph["cases"]):
        inputs = {}
        for place, key in case["inputs"].items():
            file, array = f"{name}-{number}-{place}.in", golden[key]
            array.tofile(folder / file)
            inputs[place] = {"file": file, "type": str(array.dtype), "shape": array.shape}
        cases.append(
            {"inputs": inputs, "outputs": {place: f"{name}-{number}-{place}.out" for place in case["outputs"]}}
        )
    return {"path": str(bundle / name), "cases": cases}


def main() -> None:
    bundle = root / "models/bundle"
    graphs = json.loads((bundle / "bundle.json").read_text())["graphs"]
    with tempfile.TemporaryDirectory() as temporary, np.load(bundle / "golden.npz") as golden:
        folder = Path(temporary)
        if why := install(folder):
            print(f"onnxruntime-web was not tested: {why}", flush=True)
            return
        shutil.copy(Path(__file__).with_name("web.mjs"), folder)
        content = [asked(folder, bundle, name, graph, golden) for name, graph in graphs.items()]
        (folder / "cases.json").write_text(json.dumps(content))
        variables = {name: value for name, value in os.environ.items() if name != "NODE_OPTIONS"}
        subprocess.run(["node", "web.mjs", str(folder)], cwd=folder, env=variables, check=True, timeout=PATIENCE)
        for name, graph in graphs.items():
            largest = 0.0
            for number, case in enumerate(graph["cases"]):
                for place, key in case["outputs"].items():
                    rows = np.fromfile(folder / f"{name}-{number}-{place}.out", np.float32).reshape(
                        len(golden[key]), -1
                    )
                    difference, cosine = compare(rows, golden[key], graph["every"].get(place, 1))
                    words = f"{name}, case {number}, {place}: difference {difference:.1e}, cosine {cosine:.7f}"
                    assert difference <= graph["max_difference"], words
                    assert cosine >= graph["min_cosine"], words
                    largest = max(largest, difference)
            print(f"{name}: {graph['precision']} in onnxruntime-web: largest difference {largest:.1e}", flush=True)
    print(f"{len(graphs)} graphs of the bundle compute the same in {PACKAGE} as in onnxruntime")


main()
