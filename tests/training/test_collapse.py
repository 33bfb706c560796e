"""Fatal findings end a run, or only warn."""

import matplotlib.image
import pytest

from ssl_pipeline.training.collapse import warn_or_end
from ssl_pipeline.training.curves import History
from ssl_pipeline.training.endings import CollapsedError
from ssl_pipeline.types import Finding

HEALTHY = {"embedding_std": 0.5, "effective_rank": 20.0, "update_ratio": 0.01, "loss": 1.0}
SMALL = Finding("small", "a small thing")
ALIKE = Finding("complete collapse", "complete collapse: all alike.", fatal=True)
STUCK = Finding("loss stuck", "loss stuck: it is.", fatal=True)


class Started:
    """The parts of a run that are needed here."""

    leads = True

    def __init__(self, folder):
        self.history, self.saved, self.folder = History(), [], folder
        self.history.close_row(7, HEALTHY)

    def save(self, steps):
        self.saved.append(steps)


def test_stop_ends_the_run_with_a_checkpoint_a_picture_and_all_that_was_found(tmp_path, configure):
    run = Started(tmp_path)
    findings = [SMALL, ALIKE, STUCK]
    words = r"(?s)^step 7: complete.*\nloss stuck.*curves\.png shows.*pretrain\.on_collapse: warn"
    with pytest.raises(CollapsedError, match=words):
        warn_or_end(run, 9, findings, configure(on_collapse="stop"))  # two steps after the row
    assert [found["warning"] for found in run.history.warnings] == ["a small thing"]
    assert run.saved == [9]
    assert matplotlib.image.imread(tmp_path / "curves.png").std() > 0.01


def test_warn_lets_it_go_on(capsys, tmp_path, configure):
    run = Started(tmp_path)
    warn_or_end(run, 7, [SMALL, ALIKE], configure(on_collapse="warn"))
    assert [found["warning"] for found in run.history.warnings] == ["a small thing", "complete collapse: all alike."]
    assert [found["kind"] for found in run.history.warnings] == ["small", "complete collapse"]
    assert "step 7: warning: complete collapse" in capsys.readouterr().err
    assert run.saved == []
