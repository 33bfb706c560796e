"""Value of `pretrain.positives`."""

from typing import Any

from pydantic import model_validator

from ssl_pipeline.validation import Checked
from ssl_pipeline.value_types import Positive

__all__ = ["Positives"]


class Positives(Checked):
    """Time as a source of views: a second view is of another frame of the clip, at most `within` seconds away."""

    within: Positive

    @model_validator(mode="before")
    @classmethod
    def _is_no_bare_number(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise ValueError(f"must state what the number means: write {{within: {value}}}")
        return value
