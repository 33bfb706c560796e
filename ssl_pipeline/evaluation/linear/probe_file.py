"""Write the probe as linear_probe.onnx, or the reason why there is none."""

import json
from pathlib import Path

import numpy as np

from ssl_pipeline.deployment.classifier_graph import append_classifier, prove_probe
from ssl_pipeline.evaluation.linear.inputs import LinearInputs
from ssl_pipeline.evaluation.linear.study import LinearFindings
from ssl_pipeline.products import record, sha256, write_json

__all__ = ["write_probe"]


def write_probe(models: Path, inputs: LinearInputs, found: LinearFindings) -> None:
    """Write linear_probe.onnx and verify that it predicts what the probe predicts; or no_probe.json, without a probe.

    Args:
        models: Folder to write to.
        inputs: Inputs of the evaluation.
        found: Findings of the study of these inputs.

    Raises:
        PipelineError: The exported file has changed, or the graph and the probe predict different probabilities.
    """
    inputs.check_unchanged()
    if found.backbone is None:
        write_json(models / "no_probe.json", {"linear_probe": None, "reason": found.figures["no_probe"]})
        return
    path, probe, embed = models / "linear_probe.onnx", found.backbone.probe, found.backbone.embed
    metadata = {"backbone_sha256": sha256(inputs.backbone), "strength": json.dumps(probe.strength)}
    append_classifier(inputs.backbone, probe.weight, probe.bias, inputs.data.classes, path, metadata)
    checked = inputs.data.val if len(inputs.data.val) else inputs.data.train
    some = checked.images(np.arange(min(len(checked), 256)))
    prove_probe(path, lambda images: probe.predict_proba(embed(images)), some)
    record(path)
