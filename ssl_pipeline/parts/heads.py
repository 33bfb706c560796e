"""Heads on top of an encoder, and energies of pairs of embeddings."""

import itertools
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline.types import EnergyHead, Objective

__all__ = ["CosineEnergy", "ProjectedEnergy", "mlp"]


def mlp(sizes: Sequence[int], *, last_norm: bool = False, hidden_norm: bool = True) -> nn.Sequential:
    """Build a multi-layer perceptron with batch normalisation and ReLU between layers.

    Args:
        sizes: Widths, starting with the input: [512, 2048, 128] has two layers.
        last_norm: Whether a batch normalisation without scale and shift follows the last layer.
        hidden_norm: Whether a batch normalisation follows each other layer.

    Source: SimCLR (2002.05709), appendix B; the authors' code normalises after the last layer, too.

    Examples:
        >>> [type(layer).__name__ for layer in mlp([512, 2048, 128])]
        ['Linear', 'BatchNorm1d', 'ReLU', 'Linear']
    """
    layers: list[nn.Module] = []
    pairs = list(itertools.pairwise(sizes))
    for index, (inputs, outputs) in enumerate(pairs):
        last = index == len(pairs) - 1
        layers.append(nn.Linear(inputs, outputs, bias=not (last_norm if last else hidden_norm)))
        if not last:
            layers += [*([nn.BatchNorm1d(outputs)] if hidden_norm else []), nn.ReLU(inplace=True)]
        elif last_norm:
            layers.append(nn.BatchNorm1d(outputs, affine=False))
    return nn.Sequential(*layers)


class CosineEnergy(EnergyHead):
    """Minus the cosine of backbone embeddings, in [-1, 1], for tasks that do not train an energy.

    Examples:
        >>> import torch
        >>> CosineEnergy()(torch.eye(2), torch.tensor([[2.0, 0.0], [1.0, 0.0]]))
        tensor([-1., -0.])
    """

    name = "negative_cosine_of_embeddings"

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return energies (N,) of embeddings (N, D) and (N, D)."""
        return -F.cosine_similarity(first, second, dim=1)


class ProjectedEnergy(EnergyHead):
    """The energy that a method's loss has trained, of unit-norm projections.

    Examples:
        >>> import torch
        >>> from ssl_pipeline.parts.softmax import SoftmaxLoss
        >>> from ssl_pipeline.testing.material import Plain
        >>> head = ProjectedEnergy(mlp([16, 32, 8]), Plain()).eval()
        >>> head(torch.rand(4, 16), torch.rand(4, 16)).shape, head.name
        (torch.Size([4]), 'negative_cosine_of_projections')
    """

    def __init__(self, projector: nn.Module, loss: Objective):
        super().__init__()
        self.projector = projector
        self.loss = loss
        self.name = f"{loss.energy_name}_of_projections"

    def project(self, embeddings: Tensor) -> Tensor:
        """Return unit-norm projections (N, P) of embeddings (N, D)."""
        return F.normalize(self.projector(embeddings), dim=-1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return energies (N,) of embeddings (N, D) and (N, D)."""
        return self.loss.energy(self.project(first), self.project(second))
