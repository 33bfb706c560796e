"""Problems that are found in a run, as data instead of sentences that would have to be parsed."""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Diagnosed", "Finding"]


class Finding(NamedTuple):
    """One problem of a run.

    Attributes:
        kind: Name of the problem, the same in every row of the curves whatever its figures, such as "too few
            negatives". A run reports the first finding of each kind.
        message: Description of the problem, with its figures, and what to change, in whole sentences.
        fatal: Whether it makes no sense to continue. A run ends if two successive rows of its curves have a fatal
            finding, unless `pretrain.on_collapse` is `warn`.

    Examples:
        >>> Finding("loss stuck", "The loss is 0 whatever is compared: raise pretrain.loss.margin.", fatal=True).kind
        'loss stuck'
    """

    kind: str
    message: str
    fatal: bool = False


class Diagnosed:
    """The base of tasks, losses and strategies, which know their own signs of trouble.

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
        """Return what is wrong and what to change, given a row of the curves; an empty list if all is well.

        Fatal findings count after a twentieth of the training, if two successive rows have one of any kind: embeddings
        that are identical in one row and NaN in the next have not recovered. All other findings count after warm-up. A
        task that has a finding is not reported as trivial for its `pretext_accuracy`.

        Args:
            figures: Name -> value: the metrics of the row's last step, and the mean `loss` since the row before; also
                `step`, the number of steps done, and `progress`, the share of the training done, in (0, 1].
        """
        del figures  # most have no special signs of trouble
        return []
