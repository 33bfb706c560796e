"""What the pretrained weights are worth when labels are few, and the classifier that comes of them."""

from ssl_pipeline.config import Config
from stages.command import stage
from stages.paths import AUGMENTED, EXPORT, FINETUNE, PRETRAIN, REPORTS, STORE


@stage
def finetune(config: Config) -> None:
    """Fine-tune on label budgets, beside a frozen probe and random weights; write classifier.onnx."""
    from plugins import load_registry
    from ssl_pipeline.artifacts.assembly import cut
    from ssl_pipeline.artifacts.files import load_encoder
    from ssl_pipeline.artifacts.start import started
    from ssl_pipeline.augment.policy import read_policies
    from ssl_pipeline.data.labelled import read_labelled
    from ssl_pipeline.data.store import read_originals
    from ssl_pipeline.deployment.runtime import layer_of, open_session, read_metadata
    from ssl_pipeline.evaluation.budgets.budget_report import report, report_obstacle, write_product
    from ssl_pipeline.evaluation.budgets.further_encoders import read_encoders
    from ssl_pipeline.evaluation.budgets.label_draws import obstacle
    from ssl_pipeline.evaluation.budgets.study import Study, view_policy
    from ssl_pipeline.products import atomic_folder, verified
    from ssl_pipeline.progress import say
    from ssl_pipeline.training.precision import best_device, resolve
    from stages.reference import command

    section, registry, data = config.finetune, load_registry(), read_labelled(STORE)
    whole, backbone = load_encoder(registry, PRETRAIN), verified(EXPORT / "backbone.onnx", "export")
    layer = layer_of(read_metadata(open_session(backbone))["layer"])
    encoder, card = cut(*whole, layer)
    further = read_encoders(registry, section.encoders, whole[1], layer)
    origin = started(registry, PRETRAIN)
    start = cut(origin, whole[1], layer)[0] if origin else None
    policy = view_policy(read_policies(AUGMENTED / "policy.json").views, section.view, card.size)
    originals = read_originals(STORE)
    reason = obstacle(data)
    with atomic_folder(FINETUNE) as folder:
        if reason:
            say(report_obstacle(REPORTS / "finetune", folder, reason))
            return
        precision = resolve("auto", best_device())
        study = Study(section, data, encoder, card, registry, policy, precision, further=further, start=start)
        outcomes = study.run()
        write_product(folder, study, backbone, [original.image for original in originals], command(folder))
    say(report(REPORTS / "finetune", outcomes, len(data.classes), data.test.groups))


if __name__ == "__main__":
    finetune()
