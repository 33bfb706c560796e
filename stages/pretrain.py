"""Stage 2: an encoder, learned from images without their labels."""

from pathlib import Path

from ssl_pipeline.config import Config
from stages import paths
from stages.command import stage


@stage
def pretrain(config: Config) -> None:
    """Learn an encoder from unlabelled images; a run that was killed goes on from its last checkpoint."""
    from ssl_pipeline.training.guard import end_with_dvc, only_run

    end_with_dvc()  # before the imports that take seconds
    with only_run(paths.WORK):
        _pretrain(config)


def _pretrain(config: Config) -> None:
    import plugins
    import ssl_pipeline
    from ssl_pipeline.augment.policy import read_policies
    from ssl_pipeline.data.store import open_split
    from ssl_pipeline.lock import check, code_digest
    from ssl_pipeline.recipes import resolve
    from ssl_pipeline.training import precision, preparation
    from ssl_pipeline.training.checkpoint import Checkpoints, environment
    from ssl_pipeline.training.pretraining import train
    from ssl_pipeline.training.saving import save

    registry, section = plugins.load_registry(), config.pretrain
    lock = check(paths.PLUGINS_LOCK, registry, section)
    policies, pool = read_policies(paths.AUGMENTED / "policy.json"), open_split(paths.STORE, "train")
    recipe, floats = resolve(registry, section), precision.resolve(section.precision, precision.best_device())
    task = preparation.build(registry, recipe, section, pool, policies.views)
    code = [code_digest(Path(module.__path__[0])) for module in (ssl_pipeline, plugins)]
    run = preparation.fingerprint(section, task, policies.views, pool, {"own": code, "plugins": lock})
    checkpoints = Checkpoints(paths.WORK, run, environment(floats))
    with checkpoints.until_done():
        history = train(task, pool, policies.views, section, floats, checkpoints)
        card = preparation.describe(section, recipe, task, pool, policies, lock)
        save(task, card, history, pool, paths.PRETRAIN, paths.REPORTS / "pretrain")


if __name__ == "__main__":
    pretrain()
