"""A memory holds the last vectors, and each key together with the id of its image."""

import pytest
import torch

from ssl_pipeline.parts.memory import KeyMemory, Memory


def test_a_memory_keeps_the_last_vectors():
    memory = Memory(5)
    for start in (0, 3, 6):
        memory.push(torch.arange(start, start + 3.0)[:, None])
    assert sorted(memory.held().flatten().tolist()) == [4, 5, 6, 7, 8]
    memory.push(torch.arange(20.0)[:, None])
    assert sorted(memory.held().flatten().tolist()) == [15, 16, 17, 18, 19]
    with pytest.raises(ValueError, match="size must be at least 1"):
        Memory(0)


def test_keys_and_their_images_have_one_place_in_a_memory():
    memory = KeyMemory(5)
    for start in (0, 3, 6):
        images = torch.arange(start, start + 3)
        memory.remember(images[:, None] / 2, images)
        keys, known = memory.recall()
        assert torch.equal(keys.flatten(), known / 2)
    restored = KeyMemory(5)
    restored.load_state_dict(memory.state_dict())
    for one in (memory, restored):
        keys, known = one.recall()
        assert sorted(known.tolist()) == [4, 5, 6, 7, 8]
        assert torch.equal(keys.flatten(), known / 2)
    memory.remember(torch.arange(20.0)[:, None] / 2, torch.arange(20))
    keys, known = memory.recall()
    assert sorted(known.tolist()) == [15, 16, 17, 18, 19]
    assert torch.equal(keys.flatten(), known / 2)
