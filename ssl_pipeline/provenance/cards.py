"""The cards of other runs: they name backbones that do not appear in params.yaml."""

from collections.abc import Sequence

from ssl_pipeline.config import Rival
from ssl_pipeline.products import sha256
from ssl_pipeline.workspace import find_path

__all__ = ["card_digests"]

_CARD = "model.json"  # as in ssl_pipeline.artifacts.card, which takes seconds to import


def card_digests(rivals: Sequence[Rival]) -> list[str]:
    """Return the digest of the card beside the weights of each rival, "" for a rival without a card."""
    beside = (find_path(rival.weights, "linear_eval.rivals").parent / _CARD for rival in rivals)
    return [sha256(card) if card.is_file() else "" for card in beside]
