"""Section `report` of params.yaml."""

from typing import Annotated

from pydantic import Field

from ssl_pipeline.validation import Checked

__all__ = ["ReportConfig"]


class ReportConfig(Checked):
    """Settings of the page about a run."""

    map_images: Annotated[int, Field(ge=1, le=10_000)]
