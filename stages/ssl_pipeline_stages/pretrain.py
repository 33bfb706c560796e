"""An encoder, learned from images without their labels."""

from ssl_pipeline.config import Config
from ssl_pipeline_stages import paths
from ssl_pipeline_stages.command import stage


@stage
def pretrain(config: Config) -> None:
    """Learn an encoder from unlabelled images; a run that was killed goes on from its last checkpoint."""
    from functools import partial

    from ssl_pipeline import recipes
    from ssl_pipeline.artifacts.card import CARD
    from ssl_pipeline.data.framing import read_framing
    from ssl_pipeline.data.store import open_split
    from ssl_pipeline.deployment.pretext_graph import write_pretext_graph
    from ssl_pipeline.deployment.rehearsal import rehearse
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.operations import load_policies
    from ssl_pipeline.products import atomic_folder, write_product
    from ssl_pipeline.provenance.fingerprint import fingerprint
    from ssl_pipeline.training import checkpoint, optimization, precision, preparation, pretraining, saving
    from ssl_pipeline_stages.code import origins, training_code, used

    registry = load_registry()
    plugins, method = used(registry, config), recipes.method_of(registry, config.pretrain)
    recipe, section = method.recipe, method.pretrain
    policies, pool = load_policies(registry, paths.AUGMENTED / "policy.json"), open_split(paths.STORE, "train")
    framing = read_framing(paths.STORE)
    task = preparation.build(registry, recipe, section, pool, policies.views)
    numeric_format = precision.resolve_precision(section.precision, precision.best_device())
    run = fingerprint(section, task, policies.views, pool, training_code(plugins))
    checkpoints = checkpoint.Checkpoints(paths.work(), run, checkpoint.environment(numeric_format))
    card = preparation.describe_run(section, recipe, task, pool, framing, policies.views, origins(plugins))
    if not checkpoints.exist():  # whoever wrote one has passed the trial
        rehearse(task.encoder, card)
    start = preparation.starting_weights(task, section)
    curves = paths.REPORTS / "pretrain" / "curves"
    with checkpoints.until_done():
        write_product(checkpoints.folder / CARD, card.model_dump(mode="json"))  # for who watches the run
        make_optimizer = partial(optimization.build_optimizer, registry, section.optimizer)
        history = pretraining.train(
            task, pool, policies.views, section, make_optimizer, numeric_format, checkpoints, curves
        )
        with atomic_folder(paths.PRETRAIN) as folder:
            card = saving.save(folder, task, card, start)
            write_pretext_graph(task, card, pool, folder / "pretext.onnx")
        saving.write_report(paths.REPORTS / "pretrain", task, section, history, pool, policies.views)
