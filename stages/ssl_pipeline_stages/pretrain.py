"""Learn an encoder from images without their labels."""

from ssl_pipeline.config import Config
from ssl_pipeline_stages import paths
from ssl_pipeline_stages.command import stage


@stage
def pretrain(config: Config) -> None:
    """Learn an encoder from unlabelled images; a run that was killed resumes from its last checkpoint."""
    from ssl_pipeline.deployment.learning import Places, learn
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.operations import load_policies
    from ssl_pipeline.provenance.plugins import origins
    from ssl_pipeline.recipes import method_of
    from ssl_pipeline_stages.code import training_code, used

    registry = load_registry()
    plugins, method = used(registry, config), method_of(registry, config.pretrain)
    policies = load_policies(registry, paths.AUGMENTED / "policy.json").views
    places = Places(paths.STORE, paths.work(), paths.PRETRAIN, paths.REPORTS / "pretrain")
    learn(registry, method, policies, places, training_code(plugins), origins(plugins))
