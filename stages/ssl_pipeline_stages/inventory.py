"""List files and code at the start of each run, so that DVC sees what each stage depends on."""

from ssl_pipeline.config import Config
from ssl_pipeline_stages import paths
from ssl_pipeline_stages.command import stage


@stage
def inventory(config: Config) -> None:
    """List the source's files and each stage's code by hash, so that DVC re-runs the stages that a change affects."""
    from ssl_pipeline.data.inventory import refresh
    from ssl_pipeline.progress import say
    from ssl_pipeline_stages import code

    chosen = config.ingest.source.model_dump(mode="json")
    say(f"inventory: {refresh(code.source(config), chosen, paths.INVENTORY, paths.hashes())}")
    if changed := code.refresh(config):
        say(f"inventory: {changed}")
