"""What ranks hear of each other; whole runs of ranks are in tests/stages/."""

import pytest

from ssl_pipeline import ranks
from ssl_pipeline.errors import LostRankError

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
