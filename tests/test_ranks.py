"""What ranks hear of each other; whole runs of ranks are in tests/stages/."""

import pytest
import torch.distributed as dist

from ssl_pipeline import ranks
from ssl_pipeline.errors import LostRankError
from tests.pair import second_rank

SAID = "Another process of this run has ended before its time"


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
    ranks.gathered(None)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_rank_that_closes_no_connection_and_is_not_heard_of_is_lost(monkeypatch):
    monkeypatch.setattr(ranks, "_PULSE_SECONDS", 0.05)
    monkeypatch.setattr(ranks, "_SILENCE_SECONDS", 0.5)
    with second_rank(monkeypatch, "-c", SUSPENDED) as second:
        try:
            with (
                pytest.raises(LostRankError, match=r"^Rank 1 of this run \(counted from 0\) has not been heard of for"),
                ranks.joined(),
            ):
                ranks.gathered(None)
                ranks.gathered("this rank's share")
        finally:
            second.kill()
            dist.destroy_process_group()


def test_a_rank_whose_share_takes_longer_is_waited_for(monkeypatch):
    monkeypatch.setattr(ranks, "_SILENCE_SECONDS", 0.5)
    slow = (
        "import time; from ssl_pipeline import ranks; ranks._PULSE_SECONDS = 0.05\n"
        "with ranks.joined(): time.sleep(1.5); ranks.gathered('late')"
    )
    monkeypatch.setattr(ranks, "_PULSE_SECONDS", 0.05)
    with second_rank(monkeypatch, "-c", slow), ranks.joined():
        assert ranks.gathered("early") == ["early", "late"]


def test_parts_are_all_there_is_and_as_equal_as_can_be():
    assert [list(ranks.part(number, 3, 8)) for number in range(3)] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    assert [len(ranks.part(number, 4, 2)) for number in range(4)] == [0, 1, 0, 1]
    assert ranks.share(8) == range(8)
