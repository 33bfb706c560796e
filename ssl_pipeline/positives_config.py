"""The value of `pretrain.positives`."""

from ssl_pipeline.validation import Checked
from ssl_pipeline.value_types import Positive

__all__ = ["Positives"]


class Positives(Checked):
    """Time as a source of views: a second view is of another frame of the clip, so many seconds away at most."""

    within: Positive
