"""Threads over samples."""

import threading
from collections.abc import Iterator

import pytest
import torch

from ssl_pipeline.augment.maker import ViewMaker
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.threads import for_each

PARTS = [slice(0, 3), slice(3, 4), slice(4, 9)]


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_every_part_is_worked_on_once(threads: int):
    counts = torch.zeros(9)

    def count(part: slice) -> None:
        counts[part] += 1

    for_each(count, PARTS, threads)
    assert counts.tolist() == [1] * 9


def test_threads_work_at_once_and_do_not_share_their_operations():
    together, numbers = threading.Barrier(3, timeout=20), []

    def work(part: slice) -> None:
        together.wait()  # raises unless three threads arrive
        numbers.append(torch.get_num_threads())

    for_each(work, PARTS, 3)
    assert numbers == [1, 1, 1]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_exception_reaches_the_caller_and_torch_keeps_its_threads(threads: int):
    def fail(part: slice) -> None:
        raise ValueError(f"part {part.start}")

    with pytest.raises(ValueError, match="part 0"):
        for_each(fail, PARTS, threads)
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert (torch.get_num_threads(), later) == (3, [3])


def test_views_can_be_made_in_inference_mode():
    maker = ViewMaker(Policy.model_validate({"size": 8, "grayscale": {"p": 0.5}}))
    canvases, numbers = torch.randint(256, (6, 16, 16, 3), dtype=torch.uint8), torch.rand(6, maker.parameter_count)
    with torch.inference_mode():
        made = maker(canvases, numbers)
    assert torch.equal(made, maker(canvases, numbers))


def test_no_images_have_no_views():
    maker = ViewMaker(Policy.model_validate({"size": 8}))
    assert maker(torch.zeros(0, 16, 16, 3, dtype=torch.uint8), torch.zeros(0, maker.parameter_count)).shape[0] == 0
