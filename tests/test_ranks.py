"""How ranks communicate and notice that one of them is lost; whole runs of ranks are in tests/stages/."""

import time

import pytest
import torch.distributed as dist

from ssl_pipeline import ranks
from ssl_pipeline.errors import LostRankError
from tests.pair import second_rank

SAID = "Another process of this run has ended early"


def test_a_broken_connection_is_a_lost_rank():
    broken = RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer. This is a hint")
    with (
        pytest.raises(LostRankError, match=rf"^{SAID}.* All is kept\. .* \[.*\] .*peer\.$"),
        ranks.answered("All is kept."),
    ):
        raise broken


@pytest.mark.parametrize("bug", [RecursionError("too deep"), RuntimeError("not enough memory")])
def test_a_bug_of_our_own_is_no_lost_rank(bug):
    with pytest.raises(type(bug), match=str(bug)), ranks.answered():
        raise bug


def test_a_process_by_itself_tells_itself():
    assert ranks.told("all") == "all"
    assert ranks.gathered("all") == ["all"]


SUSPENDED = """
import os, signal
from ssl_pipeline import ranks

with ranks.joined():
    ranks.gathered("the other rank's longer share")
    ranks.told("another")
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (1, r"^Rank 1 of this run \(counted from 0\) has not responded for 1 s: its machine is down or unreachable"),
        (0, r"^Rank 0 of this run, or its torchrun, has not answered at 127\.0\.0\.1:\d+ for 1 s: its machine is down"),
    ],
    ids=["another one", "the one that holds the store"],
)
def test_a_rank_that_closes_no_connection_and_is_not_heard_of_is_lost(monkeypatch, number, told):
    monkeypatch.setattr(ranks, "_PULSE_SECONDS", 0.05)
    monkeypatch.setattr(ranks, "_SILENCE_SECONDS", 1.0)
    share, other_share = "this rank's share", "the other rank's longer share"
    with second_rank(monkeypatch, "-c", SUSPENDED, number=number) as other:
        try:
            with pytest.raises(LostRankError, match=told), ranks.joined():
                shares = [share, other_share] if number else [other_share, share]
                assert ranks.gathered(share) == shares
                assert ranks.told("all") == ("all" if number else "another")
                ranks.gathered(share)
        finally:
            other.kill()
            dist.destroy_process_group()


@pytest.fixture
def pulses(monkeypatch):
    """Return the pulses of the first of two ranks, which waits for the second one."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    found = ranks._Pulses(dist.HashStore())
    found.meeting = Unfinished()
    return found


class Unfinished:
    def is_completed(self):
        return False


def test_a_rank_is_waited_for_while_its_pulse_goes_on_and_is_lost_after_five_minutes_without(pulses):
    for _ in range(200):
        pulses._store.add("pulse/1", 1)
        pulses.beat()
        pulses.look()
    for _ in range(60):
        pulses.beat()
        pulses.look()
    pulses.beat()
    with pytest.raises(LostRankError, match=r"^Rank 1 .* for 300 s"):
        pulses.look()


def test_an_answer_may_take_five_minutes(pulses):
    pulses.beat()
    for _ in range(30_001):
        pulses.look()
    with pytest.raises(LostRankError, match=r"^Rank 0 .* has not answered .* for 300 s"):
        pulses.look()
    pulses.beat()
    pulses.look()


def test_a_rank_beats_until_the_end_and_asks_for_nobody_for_whom_it_does_not_wait(pulses, monkeypatch):
    monkeypatch.setattr(ranks, "_PULSE_SECONDS", 0.001)
    pulses.meeting = None
    pulses.start()
    until = time.monotonic() + 20
    while pulses._store.add("pulse/0", 0) < 3 and time.monotonic() < until:
        time.sleep(0.001)
    monkeypatch.setattr(ranks, "_PULSE_SECONDS", 20)
    pulses.end()
    assert not pulses.is_alive()
    assert pulses._store.add("pulse/0", 0) >= 3
    assert not pulses._store.check(["pulse/1"])


def test_parts_are_all_there_is_and_as_equal_as_can_be():
    assert [list(ranks.part(number, 3, 8)) for number in range(3)] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    assert [len(ranks.part(number, 4, 2)) for number in range(4)] == [0, 1, 0, 1]
    assert ranks.share(8) == range(8)
