"""What is found to be wrong with a run: data, not a sentence to be taken apart."""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Diagnosed", "Finding"]


class Finding(NamedTuple):
    """One thing that is wrong.

    Attributes:
        kind: Its name, the same in every row of the curves whatever its figures, such as "too few negatives". Of each
            kind, a run tells the first finding.
        message: What is wrong, with its figures, and what to change, in whole sentences.
        fatal: Whether going on makes no sense. A run ends where two rows of its curves in succession have a fatal
            finding, unless `pretrain.on_collapse` is `warn`.

    Examples:
        >>> Finding("loss stuck", "The loss is 0 whatever is compared: raise pretrain.loss.margin.", fatal=True).kind
        'loss stuck'
    """

    kind: str
    message: str
    fatal: bool = False


class Diagnosed:
    """Tasks, losses and strategies: what knows its own signs of trouble.

    Examples:
        >>> class Margin(Diagnosed):
        ...     def diagnose(self, figures):
        ...         if figures["active_share"] > 0.01:
        ...             return []
        ...         return [Finding("margin too small", "Few triplets teach anything: raise loss.margin.")]
        >>> [finding.kind for finding in Margin().diagnose({"active_share": 0.002})]
        ['margin too small']
    """

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Say what is wrong and what to change, given a row of the curves; empty if all is well.

        Fatal findings count from a twentieth of the training on, if two rows in succession have one, of whatever kind:
        embeddings that are the same in one row and not a number in the next have not recovered. All other findings
        count after warm-up. A task that has something to say is not called trivial for its `pretext_accuracy`.

        Args:
            figures: The means, by name, of what was returned as metrics and of the loss; `step`, the number of steps
                done, and `progress`, the share of the training done, in (0, 1].
        """
        del figures  # most have nothing of their own to go wrong
        return []
