"""Measure how much of the labels' information the exported backbone's embeddings already contain."""

from ssl_pipeline import ranks
from ssl_pipeline.config import Config
from ssl_pipeline_stages.command import stage
from ssl_pipeline_stages.paths import AUGMENTED, EXPORT, LINEAR_EVAL, PRETRAIN, REPORTS, STORE


@stage
def linear_eval(config: Config) -> None:
    """Evaluate the exported file with probes on frozen features, compare it with baselines, and judge its clusters."""
    from ssl_pipeline.evaluation.linear.inputs import read_inputs
    from ssl_pipeline.evaluation.linear.probe_file import write_probe
    from ssl_pipeline.evaluation.linear.study import study_embeddings
    from ssl_pipeline.evaluation.report import write_report
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.operations import load_policies
    from ssl_pipeline.products import atomic_folders
    from ssl_pipeline.progress import say

    registry = load_registry()
    inputs = read_inputs(
        config.linear_eval,
        registry,
        load_policies(registry, AUGMENTED / "policy.json"),
        store=STORE,
        pretrain=PRETRAIN,
        backbone=EXPORT / "backbone.onnx",
    )
    with ranks.joined():
        found = study_embeddings(config.linear_eval, inputs)
        if ranks.leads():
            with atomic_folders(LINEAR_EVAL, REPORTS / "linear_eval") as (models, report):
                write_probe(models, inputs, found)
                write_report(report, found)
    for line in found.lines:
        say(line)
