"""Freezing of initialised backbones until the heads have been trained: gradients of random heads would spoil them.

Source: linear probing before fine-tuning (LP-FT): Kumar et al. 2022 (2202.10054), section 3.
"""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_pipeline.types import Backbone

__all__ = ["FrozenBackbones"]


class FrozenBackbones:
    """The backbones of a task, including a teacher's copy, which can be frozen and unfrozen.

    A frozen backbone is in eval mode: its batch norms normalise by their running statistics and do not update them. Its
    weights have no gradient, which saves the backward pass.

    Args:
        task: The task, in training mode.
        norms: Whether batch norms of backbones keep their running statistics throughout the run.
    """

    def __init__(self, task: nn.Module, norms: bool = False):
        self._task = task
        self._backbones = [part for part in task.modules() if isinstance(part, Backbone)]
        weights = [weight for backbone in self._backbones for weight in backbone.parameters()]
        self._learning = [weight for weight in weights if weight.requires_grad]
        parts = (part for backbone in self._backbones for part in backbone.modules()) if norms else ()
        self._kept = [part for part in parts if isinstance(part, _BatchNorm)]
        self._frozen = False
        self._keep_statistics()

    def set(self, frozen: bool) -> bool:
        """Freeze or unfreeze the backbones; return whether this changed anything."""
        if frozen == self._frozen:
            return False
        self._frozen = frozen
        for weight in self._learning:
            weight.requires_grad_(not frozen)
        self._task.train()  # parts that the task keeps in eval mode stay there
        if frozen:
            for backbone in self._backbones:
                backbone.eval()
        self._keep_statistics()
        return True

    def _keep_statistics(self) -> None:
        for norm in self._kept:
            norm.eval()
