"""The section `curate` of params.yaml."""

from ssl_pipeline.validation import Checked
from ssl_pipeline.value_types import Count, Seed

__all__ = ["CurateConfig"]


class CurateConfig(Checked):
    """What the embeddings tell of the images."""

    seed: Seed
    clusters: Count
