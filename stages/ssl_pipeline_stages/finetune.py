"""Measure what the pretrained weights are worth with few labels, and write the resulting classifier."""

from functools import partial
from typing import TYPE_CHECKING

from ssl_pipeline.config import Config
from ssl_pipeline_stages.command import stage
from ssl_pipeline_stages.paths import AUGMENTED, EXPORT, FINETUNE, PRETRAIN, REPORTS, STORE

if TYPE_CHECKING:
    from ssl_pipeline.evaluation.budgets.inputs import BudgetInputs


@stage
def finetune(config: Config) -> None:
    """Fine-tune on label budgets, compare with a frozen probe and random weights, and write classifier.onnx."""
    from ssl_pipeline.data.store import read_originals
    from ssl_pipeline.evaluation.budgets.classifier_file import write_obstacle, write_tuned
    from ssl_pipeline.evaluation.budgets.study import study_budgets
    from ssl_pipeline.evaluation.report import write_report
    from ssl_pipeline.products import atomic_folders
    from ssl_pipeline.progress import say
    from ssl_pipeline_stages.reference import command

    originals = read_originals(STORE)
    with atomic_folders(FINETUNE, REPORTS / "finetune") as (models, report):
        ship = partial(write_tuned, models, backbone=EXPORT / "backbone.onnx", originals=originals, rebuild=command)
        found = study_budgets(config.finetune, read(config), partial(read, config), ship)
        if found.obstacle:
            write_obstacle(models, found.obstacle)
        write_report(report, found)
    for line in found.lines:
        say(line)


def read(config: Config) -> "BudgetInputs":
    """Open everything that the study reads, in this process or in a worker process."""
    from ssl_pipeline.evaluation.budgets.inputs import read_inputs
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.operations import load_policies

    registry = load_registry()
    return read_inputs(
        config.finetune,
        registry,
        load_policies(registry, AUGMENTED / "policy.json"),
        store=STORE,
        pretrain=PRETRAIN,
        backbone=EXPORT / "backbone.onnx",
    )
