"""The source: what the pipeline requires of every source, and what is special about this one."""

import numpy as np
import pytest
from example_plugin.checkers import Checkers

from ssl_pipeline.testing import check_source


def test_the_source_is_as_promised(monkeypatch):
    check_source(Checkers, count=10, change=lambda: monkeypatch.setattr("example_plugin.checkers.VERSION", "2"))


def test_a_square_has_the_side_that_the_label_says():
    images = Checkers(count=10).open()
    for record in images.records:
        pixels = np.asarray(images.read(record.path, 10**6))
        edges = np.flatnonzero((pixels[:, 1:] != pixels[:, :-1]).any(axis=(0, 2)))
        assert set(np.diff(edges)) == {int(record.label)}


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="count must be 10 or more, got 9"):
        Checkers(count=9)
