"""Batches of examples/serve: an image for which the model fails does not affect the others in its batch."""

import asyncio
import runpy
from typing import Any

import numpy as np

from benchmarks.project import ROOT

Batcher = runpy.run_path(str(ROOT / "examples" / "serve" / "batching.py"))["Batcher"]


def test_an_image_that_the_model_fails_at_takes_no_other_with_it():
    def rows(images: list[int]) -> np.ndarray:
        if 0 in images:
            raise MemoryError("no room")
        return np.array([[image] for image in images], np.float32)

    async def ask() -> list[Any]:
        batcher = Batcher(rows, 4, 0.01, lambda: True)
        work = asyncio.create_task(batcher.work())
        found = await asyncio.gather(*map(batcher, (3, 0, 5, 0)), return_exceptions=True)
        work.cancel()
        assert batcher.batches == 1
        return found

    assert [str(row) for row in asyncio.run(ask())] == ["[3.]", "no room", "[5.]", "no room"]
