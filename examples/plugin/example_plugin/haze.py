"""Haze: each view is mixed with white, as distant objects are with airlight.

Source: Narasimhan and Nayar 2002 (Vision and the Atmosphere), equation 4, with one distance for the whole view.
"""

from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Register, ViewOperation


class Haze(ViewOperation):
    """Mix each view with white; its share is drawn uniformly between 0 and `strength`.

    Args:
        strength: Largest share of white, in (0, 1].
    """

    uniforms = 1

    def __init__(self, *, strength: float = 0.5):
        super().__init__()
        if not 0 < strength <= 1:
            raise ValueError(f"strength must lie in (0, 1], got {strength}")
        self.strength = strength

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Return images (N, C, S, S) mixed with white, each by its random number in `uniforms` (N, 1)."""
        share = self.strength * uniforms[:, :, None, None]
        return images * (1 - share) + share


@hookimpl
def register_operations(register: Register) -> None:
    """Add `example_plugin_haze`; in `augment.views` of params.yaml: `example_plugin_haze: {p: 0.5, strength: 0.3}`."""
    register("example_plugin_haze", Haze)
