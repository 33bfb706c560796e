"""Which library reaches an accuracy first: verdicts of benchmarks.race on invented runs."""

import numpy as np
import pytest

from benchmarks.race import DOCUMENTED, OURS, SAME, Watch, verdicts


def run(seconds, accuracies, right=(1.0, 0.0)):
    watch = Watch(1, lambda: np.zeros(2))
    watch.seconds, watch.accuracies, watch.right = list(seconds), list(accuracies), np.array(right)
    return watch


def test_time_is_told_for_the_better_of_lightlys_runs_until_ours_has_what_it_ends_with():
    slow, good = run([10, 20], [0.2, 0.3]), run([20, 40], [0.3, 0.4], (0.0, 0.0))
    ours = run([4, 8, 12], [0.3, 0.41, 0.5])
    first, second, time, whole = verdicts({OURS: [ours], DOCUMENTED: [slow], SAME: [good]})
    assert (first["what"], first["difference"]) == (f"kNN, ours less {DOCUMENTED}", 0.0)
    assert (second["what"], second["difference"]) == (f"kNN, ours less {SAME}", 0.5)
    assert (time["of"], time["ratio"]) == (SAME, 0.2)
    assert whole["ratio"] == 0.3


def test_a_seed_that_never_gets_there_leaves_no_ratio():
    better = [run([10], [0.9]), run([10], [0.2])]
    ours = [run([1], [0.5]), run([1], [0.5])]
    time = list(verdicts({OURS: ours, DOCUMENTED: better, SAME: [run([10], [0.1])] * 2}))[2]
    assert (time["ratio"], time["of_seeds"]) == (None, [None, 0.1])


def test_the_clock_stands_still_while_an_encoder_is_judged(monkeypatch):
    now = 0.0

    def judge():
        nonlocal now
        now += 100.0
        return np.array([1.0, 0.0])

    monkeypatch.setattr("time.process_time", lambda: now)
    watch = Watch(2, judge)
    for _ in range(4):
        now += 1.0
        watch.step()
    assert watch.seconds == pytest.approx([2.0, 4.0])
    assert watch.accuracies == [0.5, 0.5]
