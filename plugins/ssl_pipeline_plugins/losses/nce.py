"""Noise-contrastive estimation proper: classify each key as data or as noise, given its probability under both.

The model is a normalised density, log p(k | a) = s/τ + c, where c, minus the log of the normalising constant, is a
parameter like any other. With ν noise keys per data key, G = log p(k | a) - log(ν p_n(k)) is the log odds of data
against noise. Its binary cross-entropy is lowest where p is the density of the data, including the normaliser.
InfoNCE, by contrast, does not depend on c.

Sources: Gutmann and Hyvärinen 2010, equations 1 to 3; estimating the constant from the first batch: Wu et al. 2018
(1805.01978), section 3.2.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import cosines, log_mass, negative_sum, total_weight
from ssl_pipeline.types import Kept, Loss, Negatives, Register, Step, StepOutput, Trait

_NEEDS_KNOWN_NOISE = "its negatives must be drawn from a noise distribution of known log probability, not by similarity"


class NCE(Loss):
    """Mean of softplus(-G(s⁺)) + Σ softplus(G(s⁻)), with G(s) = s/τ + c - log ν - log p_n.

    Args:
        temperature: Temperature of the energies, τ > 0.
        normaliser: Origin of c: learned (a parameter, as in Gutmann and Hyvärinen), estimated (from the first batch and
            then fixed, as in instance discrimination) or fixed (to `constant`).
        constant: Value of c if it is fixed, or its initial value if it is learned. Leave it out if c is estimated.
        log_noise: Log probability of each key under the noise, log p_n, at most 0. The noise is uniform over images, so
            that this is minus the log of their number. With 0, c absorbs it.
    """

    energy_name = "negative_log_density"
    refuses: Mapping[Trait, str] = {
        "selected": _NEEDS_KNOWN_NOISE,
        "weighted": _NEEDS_KNOWN_NOISE,
        "debiased": _NEEDS_KNOWN_NOISE,
    }

    constant: Tensor
    estimated: Tensor

    def __init__(
        self,
        *,
        temperature: float,
        normaliser: Literal["learned", "estimated", "fixed"] = "learned",
        constant: float = 0.0,
        log_noise: float = 0.0,
    ):
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be greater than 0, got {temperature}")
        if log_noise > 0:
            raise ValueError(f"log_noise must be at most 0, as the logarithm of a probability; got {log_noise}")
        if normaliser == "estimated" and constant:
            raise ValueError(f"constant is {constant}, but normaliser is estimated: leave one of them out")
        self.temperature, self.log_noise = temperature, log_noise
        if normaliser == "learned":
            self.constant = nn.Parameter(torch.tensor(float(constant)))
        else:
            self.register_buffer("constant", torch.tensor(float(constant)))
        self.register_buffer("estimated", torch.tensor(normaliser != "estimated"))
        self._estimated = normaliser != "estimated"  # a copy on the CPU, which is read without waiting for a device

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the mean loss in nats over anchors (A, D) with positives (A, M, D), all unit-norm."""
        noise = total_weight(anchors, negatives)  # (A,): ν
        first = not self._estimated and bool(noise.any())
        constant = self._estimate(anchors, negatives, noise) if first else self.constant
        shift = constant - noise.clamp(min=1).log() - self.log_noise  # (A,): G = s/τ + shift
        cosine = cosines(anchors, positives)
        of_noise = negative_sum(anchors, negatives, lambda s, b: F.softplus(s / self.temperature + b), (shift,))
        of_data = F.softplus(-(cosine / self.temperature + shift[:, None])).mean(dim=1)
        figures = {"log_normaliser": -constant.detach(), "negatives": noise.mean()}
        return StepOutput((of_data + of_noise).mean(), figures, {"constant": constant} if first else {})

    @torch.no_grad()
    def _estimate(self, anchors: Tensor, negatives: Negatives, noise: Tensor) -> Tensor:
        """Return c = -log Z. Z, the sum of exp(s/τ) over images, is estimated as the mean over noise keys / p_n."""
        logs = log_mass(anchors, negatives, 1 / self.temperature) - noise.log() - self.log_noise
        logs = logs[noise > 0]
        return -(logs.logsumexp(dim=0) - math.log(len(logs)))

    @torch.no_grad()
    def after_step(self, step: Step, kept: Kept) -> None:
        """Store the constant that was estimated from the first batch."""
        if kept:
            self.constant.copy_(kept["constant"])
            self.estimated.fill_(True)
            self._estimated = True

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._estimated = bool(self.estimated)

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return -(cos/τ + c) (N,), minus the log density."""
        return -((first * second).sum(dim=1) / self.temperature + self.constant)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `nce`."""
    register("nce", NCE)
