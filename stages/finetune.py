"""Stage 5: what the pretrained weights are worth when labels are few, and the classifier that comes of them."""

from typing import TYPE_CHECKING

from ssl_pipeline.config import Config
from stages import paths
from stages.command import stage

if TYPE_CHECKING:
    from ssl_pipeline.models.encoder import Encoder


@stage
def finetune(config: Config) -> None:
    """Fine-tune on label budgets, against a frozen probe and training from scratch; write classifier.onnx."""
    from plugins import load_registry
    from ssl_pipeline.augment.policy import read_policies
    from ssl_pipeline.data.store import read_originals
    from ssl_pipeline.deployment.classifier import opset_of, write_classifier
    from ssl_pipeline.deployment.parity import verify
    from ssl_pipeline.evaluation.budget_report import report, report_obstacle
    from ssl_pipeline.evaluation.draws import obstacle, read_data
    from ssl_pipeline.evaluation.label_budgets import Study, view_policy
    from ssl_pipeline.models.rebuild import build_encoder, load_encoder
    from ssl_pipeline.products import atomic_folder, digest, require
    from ssl_pipeline.progress import say
    from ssl_pipeline.training.precision import best_device
    from stages.reference import command

    section, reports, registry = config.finetune, paths.REPORTS / "finetune", load_registry()
    encoder, card = load_encoder(registry, paths.PRETRAIN)
    backbone = require(paths.EXPORT / "backbone.onnx", "export")
    policy = view_policy(read_policies(paths.AUGMENTED / "policy.json").views, section.view, card.size)
    data = read_data(paths.STORE)
    reason = obstacle(data)
    if reason:
        say(report_obstacle(reports, reason))
        with atomic_folder(paths.FINETUNE) as folder:
            (folder / "README.txt").write_text(f"There is no classifier: {reason}.\n", encoding="utf-8")
        return

    def from_scratch(seed: int) -> "Encoder":
        return build_encoder(registry, card.backbone, card.mean, card.std, seed, card.size)

    study = Study(section, data, encoder, card, from_scratch, policy, best_device())
    outcomes = study.run()
    with atomic_folder(paths.FINETUNE) as folder:
        model, shaped = study.classifier.cpu(), digest([card.weights_sha256, section.model_dump()])
        card = card.model_copy(update={"params_sha256": shaped})
        budget = {"labels_per_class": str(study.budgets[-1])}
        path = write_classifier(
            folder, model.encoder, model.head, card, data.classes, opset=opset_of(backbone), metadata=budget
        )
        verify(path, [original.image for original in read_originals(paths.STORE)], command(folder))
    say(report(reports, outcomes, len(data.classes)))


if __name__ == "__main__":
    finetune()
