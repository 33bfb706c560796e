"""Section `bundle` of params.yaml."""

from typing import Annotated

from pydantic import Field

from ssl_pipeline.validation import Checked

__all__ = ["BundleConfig"]


class BundleConfig(Checked):
    """Settings of the folder that ships."""

    contact: Annotated[str, Field(min_length=1, max_length=200)] | None
    triton: bool
