"""A step whose figures are not needed never waits for the device: it reads no value from it and copies none to it."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ssl_pipeline.training import pretraining
from ssl_pipeline.training.run import Run
from tests.training.conftest import REGISTRY
from tests.training.test_diagnoses import OWN

aten = torch.ops.aten
COUNTED = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.bincount, aten._unique2, aten.equal}
"""Operations that have to wait for the device, because of their result or its size."""
IN_MEMORY = ("tolist", "numpy", "cpu", "new_tensor")
"""Methods that are not operations on a CPU, but copy to or from another device."""
KNOWN = {
    "masked_tokens": {"nonzero", "_local_scalar_dense", "cpu"},  # which entries of a vocabulary are idle
    "missing_frame": {"nonzero", "_local_scalar_dense", "cpu"},  # the same
    "truncated_triplet": {"_local_scalar_dense", "cpu", "tolist", "_unique2"},  # how many keys each image has
}
"""Waits that remain, because the shapes of further tensors depend on the values."""
STEPS = 4
SHORT = {"w_mse": {"pretext_task": {"out_dim": 8}}}  # fewer dimensions than images


class Waits(TorchDispatchMode):
    """Count what waits for a device in the steps that are not measured, from the second one on."""

    def __init__(self):
        super().__init__()
        self.found, self.since = Counter(), None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        indices = args[1] if func.overloadpacket in {aten.index, aten.index_put, aten.index_put_} else []
        masked = any(index is not None and index.dtype == torch.bool for index in indices)
        if func.overloadpacket in COUNTED or masked:
            self.note(func.overloadpacket.__name__ + masked * " of a mask")
        return func(*args, **(kwargs or {}))

    def note(self, name):
        if self.since is not None:
            self.since[name] += 1


@pytest.fixture
def waits(monkeypatch):
    """Return a function that counts the waits of a run, in which only the last step ends a row."""
    monkeypatch.setattr(pretraining, "LOGGED_ROWS", 1)
    counter = Waits()
    for name in IN_MEMORY:
        method = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor,
            name,
            lambda *args, method=method, name=name, **more: (counter.note(name), method(*args, **more))[1],
        )
    due = Run.save_if_due

    def save_if_due(run, steps, *rest):
        if 1 < steps < STEPS:
            counter.found += counter.since
        counter.since = None
        return due(run, steps, *rest)

    monkeypatch.setattr(Run, "save_if_due", save_if_due)

    def counting(task):
        forward = task.forward

        def begin(views):
            counter.since = Counter()
            return forward(views)

        task.forward = begin
        return task

    def count(train):
        with counter:
            train(counting)
        return set(counter.found)

    return count


def small(configure, recipe, **values):
    return configure(recipe=recipe, on_collapse="warn", **values, **OWN.get(recipe, {}), **SHORT.get(recipe, {}))


@pytest.mark.parametrize("recipe", REGISTRY.names("recipe"))
def test_a_step_between_two_rows_waits_for_nothing(recipe, waits, run, configure, make_pool):
    config = small(configure, recipe, epochs=1)
    assert waits(lambda change: run(config, make_pool(16 * STEPS, True), change=change)) <= KNOWN.get(recipe, set())


@pytest.mark.parametrize("recipe", ["simclr", "dcl", "triplet", "mocov2", "byol", "swav", "w_mse", "masked_tokens"])
def test_whether_figures_are_looked_at_changes_no_weight(recipe, run, configure, make_pool, monkeypatch):
    config, weights, losses = small(configure, recipe, epochs=2), [], []
    for rows in (50, 2):  # rows of single steps, and rows of a whole epoch
        monkeypatch.setattr(pretraining, "LOGGED_ROWS", rows)
        task, history = run(config, make_pool(16 * STEPS, True), name=f"{rows} rows")
        weights.append(torch.cat([value.double().flatten() for value in task.state_dict().values()]))
        losses.append([row["loss"] for row in history.rows])
    assert torch.equal(*weights)
    assert losses[1] == [sum(losses[0][start : start + STEPS]) / STEPS for start in (0, STEPS)]


class ReadTogether(torch.Tensor):
    """A scalar that cannot be read by itself."""

    item = __float__ = None


def test_the_metrics_of_a_row_are_read_together(run, configure, make_pool):
    def change(task):
        compare = task.compare

        def alone(encoded, step):
            output = compare(encoded, step)
            metrics = {name: value.as_subclass(ReadTogether) for name, value in output.metrics.items()}
            return output._replace(metrics=metrics)

        task.compare = alone
        return task

    config = small(configure, "simclr", epochs=1)
    histories = [run(config, make_pool(32), change=how, name=str(how))[1] for how in (change, lambda task: task)]
    assert [repr(row) for row in histories[0].rows] == [repr(row) for row in histories[1].rows]
