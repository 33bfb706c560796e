"""The picture of the curves: figures in groups, healthy ranges, and constant figures in a line below."""

import math
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ssl_pipeline.config import CollapseBounds
from ssl_pipeline.training.curve_picture import draw_curves

BOUNDS = CollapseBounds(min_embedding_std=0.02, min_effective_rank=1.5)


def row(step: int, **figures: float) -> dict[str, float]:
    energies = {"energy_compatible": -1.0 * step, "energy_incompatible": 0.1 * step, "energy_gap": 1.1 * step}
    spread = {"embedding_std": 0.5 / step, "effective_rank": 2.0 * step, "projection_rank": 3.0 * step}
    return (
        {"step": step, "loss": 3.0 / step, "update_ratio": 1e-3 / step, "negatives": 510.0}
        | energies
        | spread
        | figures
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch):
    """Return a function that draws rows and returns the figure."""
    figures: list[Figure] = []
    monkeypatch.setattr(FigureCanvasAgg, "print_png", lambda canvas, _: figures.append(canvas.figure))

    def draw(*rows: dict[str, float]) -> Figure:
        draw_curves(rows, Path("unused.png"), BOUNDS)
        return figures[-1]

    return draw


def panels(figure: Figure) -> dict[str, list[str]]:
    """Return title of each group -> titles of its panels."""
    return {part.get_suptitle(): [place.get_title() for place in part.axes if place.lines] for part in figure.subfigs}


def test_figures_stand_in_groups_and_constant_ones_below(drawn):
    figure = drawn(row(1), row(2), row(3))
    assert list(panels(figure).values()) == [
        ["loss", "update ratio"],
        ["embedding std", "effective rank", "projection rank"],
        ["energies"],
    ]
    assert figure.get_supxlabel() == "Constant: negatives 510"
    energies = figure.subfigs[2].axes[0]
    assert [text.get_text() for text in energies.get_legend().get_texts()] == [
        "two views of one image", "views of two images", "gap between the two",
    ]  # fmt: skip


def test_figures_that_some_rows_lack_are_drawn_where_they_are_told(drawn):
    unseen = {name: value for name, value in row(3).items() if name not in ("embedding_std", "effective_rank")}
    figure = drawn(row(1, effective_rank=4.0), unseen, row(2, effective_rank=4.0), unseen | {"step": 4})
    std = figure.subfigs[1].axes[0].lines[0]
    assert [*zip(*std.get_data(), strict=True)] == [(1, 0.5), (2, 0.25)]
    assert figure.get_supxlabel() == "Constant: negatives 510, effective rank 4"


def test_the_healthy_range_is_in_sight_also_where_the_curve_is_far_below_it(drawn):
    figure = drawn(row(1, embedding_std=0.001), row(2, embedding_std=0.002))
    (std, *_) = figure.subfigs[1].axes
    (span,) = std.patches
    assert (span.get_y(), span.get_y() + span.get_height()) == (0.02, pytest.approx(1.0))
    low, high = std.get_ylim()
    assert low < 0.001
    assert high >= 1.0


def test_a_method_without_energies_and_a_figure_that_is_no_number_are_drawn(drawn):
    rows = [{"step": step, "loss": 1.0 / step, "embedding_std": math.nan, "update_ratio": 0.0} for step in (1, 2)]
    assert list(panels(drawn(*rows)).values()) == [["loss"]]
    assert drawn(*rows).get_supxlabel() == "Constant: embedding std nan, update ratio 0"
    assert list(panels(drawn(rows[0])).values()) == [["loss", "update ratio"], ["embedding std"]]


def test_a_change_of_the_size_of_views_is_a_dotted_line_in_each_panel(drawn):
    sizes = {1: 8, 2: 8, 3: 12, 4: 16}
    figure = drawn(*(row(step, view_size=size) for step, size in sizes.items()))
    assert "view size" not in [title for titles in panels(figure).values() for title in titles]
    places = [place for part in figure.subfigs for place in part.axes if place.lines]
    dotted = [[line.get_xdata()[0] for line in place.lines if line.get_linestyle() == ":"] for place in places]
    assert dotted == [[2, 3]] * len(places)
    assert figure.get_supxlabel().splitlines() == [
        "Constant: negatives 510",
        "Dotted lines: the size of views changes (8, 12, 16 px)",
    ]
