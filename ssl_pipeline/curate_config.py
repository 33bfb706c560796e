"""The section `curate` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from ssl_pipeline.validation import Checked
from ssl_pipeline.value_types import Count, Seed

__all__ = ["CurateConfig"]


class CurateConfig(Checked):
    """What the embeddings tell of the images."""

    seed: Seed
    clusters: Count
    label_next: Annotated[int, Field(ge=0)]
    label_next_by: Literal["typical", "random"]
