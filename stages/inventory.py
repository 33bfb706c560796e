"""In each run, before all else: which files there are, so that dvc sees what `augment` reads."""

from ssl_pipeline.config import Config
from stages import paths
from stages.command import stage


@stage
def inventory(config: Config) -> None:
    """List the source's files by name, size and hash; augment runs again where one has changed."""
    from ssl_pipeline.data.inventory import refresh
    from ssl_pipeline.progress import say

    source = config.augment.source
    say(f"inventory: {refresh(source.name, source.options, paths.INVENTORY, paths.hashes())}")


if __name__ == "__main__":
    inventory()
