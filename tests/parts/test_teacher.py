"""The teacher follows its student by the rule of the papers, and a checkpoint includes it."""

import math

import pytest
import torch
from torch import nn

from ssl_pipeline.parts.teacher import Teacher


def test_it_starts_as_its_student_and_follows_by_a_moving_average():
    student = nn.Linear(3, 2)
    teacher = Teacher(student, momentum=0.9, rising=False)
    start = student.weight.detach().clone()
    assert torch.equal(teacher.network.weight, start)
    with torch.no_grad():
        student.weight += 1
    teacher.follow(student, 0.3)
    teacher.follow(student, 0.6)
    torch.testing.assert_close(teacher.network.weight, start + 1 - 0.9**2)
    assert not teacher.network.weight.requires_grad
    assert not teacher(torch.ones(1, 3)).requires_grad


def test_momentum_rises_by_a_cosine():
    teacher = Teacher(nn.Linear(1, 1), momentum=0.996, rising=True)
    assert teacher.momentum(0.0) == pytest.approx(0.996)
    assert teacher.momentum(0.25) == pytest.approx(1 - 0.004 * (math.cos(math.pi / 4) + 1) / 2)
    assert teacher.momentum(1.0) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="momentum must lie in"):
        Teacher(nn.Linear(1, 1), momentum=1.0, rising=True)
