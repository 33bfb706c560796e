"""Check that the products of a default run exist, are valid, and are as good as the README states."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

root = Path(sys.argv[1])
sys.path.insert(0, str(root))  # use the stages of this project

from ssl_pipeline_stages import STAGES  # noqa: E402


def details(stage: str) -> dict[str, Any]:
    return json.loads((root / "reports" / stage / "details.json").read_text())


def main() -> None:
    graphs = sorted([*root.glob("data/augmented/*.onnx"), *root.glob("models/*/*.onnx")])
    wanted = {root / stage.outputs[0] / name for stage in STAGES.values() for name in stage.graphs}
    assert wanted <= set(graphs), f"missing: {wanted - set(graphs)}"
    for path in graphs:
        onnx.checker.check_model(onnx.load(path), full_check=True)

    session = onnxruntime.InferenceSession(root / "models/export/backbone.onnx", providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (2, 33, 50, 3), dtype=np.uint8)
    (embedding,) = session.run(["embedding"], {"images": images})
    assert np.allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)

    linear = details("linear_eval")
    assert linear["accuracy_low"] > linear["random_encoder"]["accuracy_high"], "no clear gain over the random encoder"
    page = root / "reports/index.html"
    assert 'id="map-data"' in page.read_text(encoding="utf-8"), "the page has no map"
    assert page.stat().st_size < 15e6, "the page is too large to send"

    print("verdict:", (root / "reports/finetune/verdict.txt").read_text())
    print(
        f"{len(graphs)} graphs are valid; linear probe {linear['accuracy']:.3f}, "
        f"random encoder {linear['random_encoder']['accuracy']:.3f}"
    )


main()
