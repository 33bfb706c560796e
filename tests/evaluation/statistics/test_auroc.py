"""The area under the ROC curve, and its interval."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from ssl_pipeline.evaluation.statistics.auroc import auroc, auroc_interval


def test_the_auroc_is_scikit_learns_ties_included():
    generator = np.random.default_rng(0)
    positive, negative = (generator.integers(low, low + 9, 50).astype(np.float32) for low in (0, 3))
    labels = np.repeat([1, 0], 50)
    assert auroc(positive, negative) == pytest.approx(roc_auc_score(labels, -np.concatenate([positive, negative])))
    assert auroc(np.zeros(5, np.float32), np.zeros(5, np.float32)) == 0.5


def test_the_interval_of_the_auroc_covers_near_one_where_a_bootstrap_does_not():
    generator, n, gap = np.random.default_rng(0), 40, 3.0
    true = norm.cdf(gap / np.sqrt(2))  # for two normal distributions: 0.983
    ours, theirs = 0, 0
    for _ in range(200):
        positive, negative = generator.normal(0, 1, n), generator.normal(gap, 1, n)
        low, high = auroc_interval(auroc(positive, negative), n, n)
        ours += low <= true <= high
        drawn = generator.integers(0, n, (100, 2, n))
        areas = [auroc(positive[rows[0]], negative[rows[1]]) for rows in drawn]
        theirs += np.percentile(areas, 2.5) <= true <= np.percentile(areas, 97.5)
    assert ours >= 0.94 * 200
    assert theirs < 0.93 * 200


@pytest.mark.parametrize(("area", "low", "high"), [(1.0, 0.95, 1.0), (0.0, 0.0, 0.05), (0.5, 0.38, 0.62)])
def test_the_interval_of_the_auroc_has_a_width_everywhere(area: float, low: float, high: float):
    found = auroc_interval(area, 40, 40)
    assert found[0] <= area <= found[1]
    assert found == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))
