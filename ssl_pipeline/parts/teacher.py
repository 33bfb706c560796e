"""The teacher: a moving average of a student, which gives steadier targets than the student itself.

Sources: momentum encoder: MoCo (1911.05722), equation 2; rising momentum: BYOL (2006.07733), section 3.3.
"""

import copy
import math

import torch
from torch import Tensor, nn

__all__ = ["Teacher"]


class Teacher(nn.Module):
    """A copy of a student, without gradient, whose weights follow the student's by θ' ← m θ' + (1 - m) θ.

    Its batch norms compute their own statistics, from what the teacher sees. Checkpoints hold all of its state.

    Args:
        student: The network that is copied.
        momentum: Initial momentum m, in [0, 1).
        rising: Whether m rises to 1 over the training, by a cosine; otherwise it is constant.

    Examples:
        >>> student = nn.Linear(2, 1, bias=False)
        >>> teacher = Teacher(student, momentum=0.9, rising=False)
        >>> _ = student.weight.data.add_(1.0)  # an optimizer's step
        >>> teacher.follow(student, progress=0.5)
        >>> print(f"{(student.weight - teacher.network.weight).mean():.1f}")
        0.9
    """

    def __init__(self, student: nn.Module, *, momentum: float, rising: bool):
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        self.network = copy.deepcopy(student).requires_grad_(False)
        self.base_momentum, self.rising = momentum, rising

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs of the averaged network."""
        outputs: Tensor = self.network(inputs)
        return outputs

    def momentum(self, progress: float) -> float:
        """Return m at a share of the training in [0, 1]; if it rises, 1 - (1 - m) (cos(pi progress) + 1) / 2."""
        if not self.rising:
            return self.base_momentum
        return 1 - (1 - self.base_momentum) * (math.cos(math.pi * progress) + 1) / 2

    @torch.no_grad()
    def follow(self, student: nn.Module, progress: float) -> None:
        """Move the weights a step towards those of the student."""
        share = 1 - self.momentum(progress)
        for own, theirs in zip(self.network.parameters(), student.parameters(), strict=True):
            own.lerp_(theirs.detach(), share)
