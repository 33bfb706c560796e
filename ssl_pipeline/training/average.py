"""A moving average of the weights of a run, which is steadier than the weights themselves, and ships in their place.

Sources: Polyak & Juditsky 1992 (SIAM J. Control Optim. 30), section 2; the exponential form for networks: Tarvainen &
Valpola 2017 (1703.01780), section 3; the bias correction is that of Adam (1412.6980), section 3.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["WeightAverage", "put_average"]


class WeightAverage:
    """The average of all that is trained in a module, and of the running statistics of its batch norms.

    After t steps from its beginning it is (1 - d) / (1 - d^t) (θ_t + d θ_{t-1} + ... + d^{t-1} θ_1), d the decay: of
    the weights after each step, and of none before, so that a short run is averaged as well as a long one.

    Args:
        module: The module, on its device.
        decay: d, in (0, 1).
        begins: The number of the step from which on it is an average; before that it is what the weights are.

    Examples:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> average = WeightAverage(layer, decay=0.5)
        >>> for step, weight in enumerate([3.0, 6.0]):
        ...     _ = layer.weight.data.fill_(weight)
        ...     average.follow(step)
        >>> average.state_dict()["weight"].item()
        5.0
    """

    def __init__(self, module: nn.Module, decay: float, begins: int = 0):
        self._decay, self._begins = decay, begins
        self._values = dict(_averaged(module))
        self._means = {name: value.detach().clone() for name, value in self._values.items()}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Take in the weights after a step.

        Args:
            step: The number of the step that was taken, from 0. Steps follow each other.
        """
        count = max(1, step + 1 - self._begins)
        share = (1 - self._decay) / (1 - self._decay**count)  # 1 at the first step
        for name, value in self._values.items():
            self._means[name].lerp_(value.detach(), share)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by the names that `module.state_dict()` has for what they are of."""
        return dict(self._means)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up averages that `state_dict` returned."""
        for name, mean in self._means.items():
            mean.copy_(state[name])

    @torch.no_grad()
    def restore(self) -> None:
        """Put the averages in the place of what they are of."""
        for name, value in self._values.items():
            value.copy_(self._means[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages in place until the block ends; then all is as it was before, bit for bit."""
        before = {name: value.detach().clone() for name, value in self._values.items()}
        self.restore()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in self._values.items():
                    value.copy_(before[name])


@torch.no_grad()
def put_average(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put averages that `WeightAverage.state_dict` returned in the place of what they are of, in a module like it."""
    for name, value in _averaged(module):
        value.copy_(state[name])


def _averaged(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what is averaged, by its name in `module.state_dict()`; what is not trained has nothing to be averaged."""
    yield from ((name, weight) for name, weight in module.named_parameters() if weight.requires_grad)
    norms = {name: part for name, part in module.named_modules() if isinstance(part, _BatchNorm)}
    for name, norm in norms.items():
        for kind in ("running_mean", "running_var"):
            statistics = getattr(norm, kind)
            if statistics is not None:
                yield (f"{name}.{kind}" if name else kind), statistics
