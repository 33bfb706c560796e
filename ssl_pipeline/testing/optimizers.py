"""Checks of optimizers: that they lower a loss, use the scheduled learning rate and weight decay, and can resume."""

import io

import torch
from pydantic import ValidationError
from torch import Tensor, nn, optim

from ssl_pipeline.testing.subject import Subject
from ssl_pipeline.training.optimization import parameter_groups

__all__ = [
    "goes_on_to_the_bit",
    "heeds_the_learning_rate",
    "heeds_the_weight_decay",
    "is_an_optimizer",
    "lowers_a_loss",
    "mistakes_are_told",
]

_RATES = (1e-3, 1e-2, 0.1, 1.0)
_STEPS = 200


class _Pull(nn.Module):
    """A weight and a bias that a loss with a single minimum pulls to 1.

    Args:
        strength: Factor of the loss; 0: gradients are 0.
    """

    def __init__(self, strength: float = 1.0):
        super().__init__()
        self.strength = strength
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 4, generator=generator))
        self.bias = nn.Parameter(torch.randn(4, generator=generator))

    def forward(self) -> Tensor:
        """Return half the sum of squared distances."""
        return self.strength * 0.5 * (((self.weight - 1) ** 2).sum() + ((self.bias - 1) ** 2).sum())


def is_an_optimizer(subject: Subject) -> None:
    """Check that it derives from torch's, has each parameter once, and a learning rate in each group."""
    module = _Pull()
    optimizer = _build(subject, module)
    subject.require(
        isinstance(optimizer, optim.Optimizer),
        f"its factory returns {type(optimizer).__name__}; derive it from torch.optim.Optimizer.",
    )
    held = [id(value) for group in optimizer.param_groups for value in group["params"]]
    subject.require(
        sorted(held) == sorted(map(id, module.parameters())),
        "it does not hold each parameter of `groups` once. Pass `groups` to torch.optim.Optimizer unchanged.",
    )
    subject.require(
        all("lr" in group for group in optimizer.param_groups),
        "a group has no 'lr', which the schedule sets. Pass the defaults {'lr': learning_rate} to "
        "torch.optim.Optimizer.",
    )


def lowers_a_loss(subject: Subject) -> None:
    """Check that steps lower a sum of squares at some learning rate."""
    ends = {}
    for rate in _RATES:
        module = _Pull()
        start = module().item()
        _learn(module, _build(subject, module, rate), _STEPS)
        ends[rate] = module().item() / start
    told = ", ".join(f"{share:.3g} at {rate:g}" for rate, share in ends.items())
    subject.require(
        min(ends.values()) < 0.5,
        f"after {_STEPS} steps on a sum of squares, these shares of it are left, by learning rate: {told}. Step "
        "against the gradient.",
    )


def heeds_the_learning_rate(subject: Subject) -> None:
    """Check that it reads `lr`, which the schedule sets before each step: at 0, no weight may change."""
    module = _Pull()
    optimizer, before = _build(subject, module), _values(module)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    _learn(module, optimizer, 3)
    subject.require(
        _equal(before, _values(module)),
        "it changes weights while group['lr'] is 0. Read the learning rate, which the schedule sets, at each step.",
    )


def heeds_the_weight_decay(subject: Subject) -> None:
    """Check that, at a gradient of 0, only weights of a group with weight decay become smaller."""
    module = _Pull(strength=0.0)
    before = _values(module)
    _learn(module, _build(subject, module, decay=0.1), 3)
    weight, bias = _values(module)
    subject.require(
        bool(weight.norm() < before[0].norm()),
        "weights with a gradient of 0 do not decay. Read group['weight_decay'], which params.yaml sets.",
    )
    subject.require(torch.equal(bias, before[1]), "it lets biases decay, whose group['weight_decay'] is 0.")


def goes_on_to_the_bit(subject: Subject) -> None:
    """Check that a run whose optimizer was saved and loaded ends with the same bits as an uninterrupted one."""
    whole, pieced = _Pull(), _Pull()
    _learn(whole, _build(subject, whole), 6)
    first = _build(subject, pieced)
    _learn(pieced, first, 3)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = _build(subject, pieced)
    second.load_state_dict(torch.load(file, weights_only=True))
    _learn(pieced, second, 3)
    subject.require(
        _equal(_values(whole), _values(pieced)),
        "a saved and resumed run ends with different bits. Keep everything that changes in `self.state` or the groups.",
    )


def mistakes_are_told(subject: Subject) -> None:
    """Check that an option out of range is refused with a message, unless training works with it."""
    for name, field in subject.schema().model_fields.items():
        if isinstance(field.default, bool) or not isinstance(field.default, int | float):
            continue
        try:
            options = subject.schema().model_validate({**subject.options, name: -1}).model_dump()
            module = _Pull()
            _learn(module, subject.factory(groups=parameter_groups(module, 0.0), learning_rate=1e-3, **options), 10)
        except (ValidationError, ValueError):
            continue
        subject.require(
            all(bool(value.isfinite().all()) for value in _values(module)),
            f"with {name}: -1, the weights become infinite or NaN. Raise ValueError with the range of '{name}', or "
            "annotate it: Annotated[float, pydantic.Field(ge=0)].",
        )


def _build(subject: Subject, module: nn.Module, rate: float = 1e-2, decay: float = 0.0) -> optim.Optimizer:
    groups = parameter_groups(module, decay)
    optimizer: optim.Optimizer = subject.factory(groups=groups, learning_rate=rate, **subject.options)
    return optimizer


def _learn(module: nn.Module, optimizer: optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        module().backward()
        optimizer.step()


def _values(module: nn.Module) -> list[Tensor]:
    return [value.detach().clone() for value in module.parameters()]


def _equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(map(torch.equal, first, second))
