"""Section `curate` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from ssl_pipeline.validation import Checked
from ssl_pipeline.value_types import Count, Seed

__all__ = ["CurateConfig"]


class CurateConfig(Checked):
    """Settings of the study of the images by their embeddings."""

    seed: Seed
    clusters: Count
    label_next: Annotated[int, Field(ge=0)]
    label_next_by: Literal["typical", "random"]
