"""Exponential moving average of the weights of a run: steadier than the weights themselves, it ships in their place.

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
    """Average of a module's trainable parameters and of the running statistics of its batch norms.

    After t steps of averaging with decay d it is (1 - d) / (1 - d^t) (θ_t + d θ_{t-1} + ... + d^{t-1} θ_1). It covers
    the weights after each of these steps, but not the initial weights, so that short runs are averaged as well as long
    ones.

    Args:
        module: The module, on its device.
        decay: The decay d, in (0, 1).
        begins: The number of the step at which averaging begins; before it, the average equals the weights.

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
        """Update the average with the weights after a step.

        Args:
            step: The number of the step that was taken, from 0; call this once per step, in order.
        """
        count = max(1, step + 1 - self._begins)
        share = (1 - self._decay) / (1 - self._decay**count)  # 1 at the first step
        for name, value in self._values.items():
            self._means[name].lerp_(value.detach(), share)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages under the names that `module.state_dict()` uses."""
        return dict(self._means)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore averages that `state_dict` returned."""
        for name, mean in self._means.items():
            mean.copy_(state[name])

    @torch.no_grad()
    def restore(self) -> None:
        """Overwrite the module's values with their averages."""
        for name, value in self._values.items():
            value.copy_(self._means[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the module its averages within the block; afterwards, its values are restored bit for bit."""
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
    """Overwrite values of a module with averages that `WeightAverage.state_dict` returned for a module like it."""
    for name, value in _averaged(module):
        value.copy_(state[name])


def _averaged(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield name in `module.state_dict()` and value of everything that is averaged; frozen parameters are not."""
    yield from ((name, weight) for name, weight in module.named_parameters() if weight.requires_grad)
    norms = {name: part for name, part in module.named_modules() if isinstance(part, _BatchNorm)}
    for name, norm in norms.items():
        for kind in ("running_mean", "running_var"):
            statistics = getattr(norm, kind)
            if statistics is not None:
                yield (f"{name}.{kind}" if name else kind), statistics
