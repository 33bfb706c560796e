"""The cards of other runs, which name backbones that params.yaml does not."""

from collections.abc import Sequence

from ssl_pipeline.config import Rival
from ssl_pipeline.products import sha256
from ssl_pipeline.workspace import find_path

__all__ = ["card_digests"]

_CARD = "model.json"  # that of ssl_pipeline.artifacts.card, which takes seconds to import


def card_digests(rivals: Sequence[Rival]) -> list[str]:
    """Return the digest of the card beside the weights of each rival, empty where there is none."""
    beside = (find_path(rival.weights, "linear_eval.rivals").parent / _CARD for rival in rivals)
    return [sha256(card) if card.is_file() else "" for card in beside]
