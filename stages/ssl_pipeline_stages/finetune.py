"""What the pretrained weights are worth when labels are few, and the classifier that comes of them."""

from ssl_pipeline.config import Config
from ssl_pipeline_stages.command import stage
from ssl_pipeline_stages.paths import AUGMENTED, EXPORT, FINETUNE, PRETRAIN, REPORTS, STORE


@stage
def finetune(config: Config) -> None:
    """Fine-tune on label budgets, beside a frozen probe and random weights; write classifier.onnx."""
    from ssl_pipeline.data.store import read_originals
    from ssl_pipeline.evaluation.budgets.classifier_file import write_tuned
    from ssl_pipeline.evaluation.budgets.inputs import read_inputs
    from ssl_pipeline.evaluation.budgets.study import study_budgets
    from ssl_pipeline.evaluation.report import write_report
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.operations import load_policies
    from ssl_pipeline.progress import say
    from ssl_pipeline_stages.reference import command

    backbone, originals = EXPORT / "backbone.onnx", read_originals(STORE)
    registry = load_registry()
    inputs = read_inputs(
        config.finetune,
        registry,
        load_policies(registry, AUGMENTED / "policy.json"),
        store=STORE,
        pretrain=PRETRAIN,
        backbone=backbone,
    )
    found = study_budgets(config.finetune, inputs)
    write_tuned(FINETUNE, found, backbone=backbone, originals=originals, rebuild=command)
    write_report(REPORTS / "finetune", found)
    for line in found.lines:
        say(line)
