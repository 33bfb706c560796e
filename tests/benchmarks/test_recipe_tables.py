"""The tables of docs/recipes.md, made from invented rows."""

import pytest

from benchmarks.recipe_page import write_page
from benchmarks.recipe_tables import accuracies, batches, by_recipe, figures, longer, not_above


def row(recipe: str, seed: int = 0, knn: float = 0.5, layer: float | None = None, size: int = 256, **more):
    found = {
        "data": "cifar10",
        "epochs": 5,
        "batch_size": size,
        "recipe": recipe,
        "seed": seed,
        "effective_rank": 9.0,
        **more,
    }
    for name, value in {"knn": knn, "linear": knn, "layer": layer}.items():
        found |= {} if value is None else {name: value, f"{name}_low": value - 0.01, f"{name}_high": value + 0.01}
    return found | {"few_labels": 0.2, "uniformity": -1.0, "homogeneity": 0.3, "completeness": 0.2}


def cells(table: str) -> dict[str, dict[str, str]]:
    """Return the cells of a table by the first cell of their line and the title of their column."""
    head, _, *lines = (line[1:-1].split("|") for line in table.splitlines() if line.startswith("|"))
    titles = [title.strip() for title in head]
    return {line[0].strip(" `"): dict(zip(titles, map(str.strip, line), strict=True)) for line in lines}


RANDOM = [row("random encoder", seed, 0.30 + 0.01 * seed, 0.40, best_layer="last") for seed in (0, 1)]


def test_a_seed_is_above_where_its_interval_is_above_those_of_all_random_encoders():
    rows = [row("simclr", 0, 0.325), row("simclr", 1, 0.335), row("rotation", 0, 0.2, 0.45, best_layer=2), *RANDOM]
    found = cells(accuracies([*rows, row("byol", 0, 0.31)]))
    assert found["byol"]["above start"] == "0 of 1"
    assert found["simclr"]["seeds above"] == "1 of 2"  # intervals of random encoders end at 32%
    assert found["simclr"]["above start"] == "2 of 2"  # that of the first seed's random encoder ends at 31%
    assert found["simclr"]["accuracy"] == "33.0%"
    assert found["simclr"]["bounds"] == "31.5% to 34.5%"
    assert found["simclr"]["random"] == "30.5%"
    assert found["rotation"]["seeds above"] == "1 of 1"  # judged by its probe
    assert (found["rotation"]["judged by"], found["rotation"]["kNN"]) == ("probe, layer 2", "20.0%")


def test_a_recipe_with_a_backbone_of_its_own_is_held_against_a_random_one_of_its_kind():
    mae = row("mae", knn=0.2, layer=0.38, best_layer="last")
    assert cells(accuracies([mae, *RANDOM]))["mae"]["seeds above"] == ""
    own = row("random encoder, mae", knn=0.2, layer=0.35, best_layer="last")
    assert cells(accuracies([mae, own, *RANDOM]))["mae"]["seeds above"] == "1 of 1"


@pytest.mark.parametrize("end", ["refused", "ended"])
def test_a_run_without_an_end_counts_and_is_listed(end):
    lost = {"data": "cifar10", "batch_size": 32, "recipe": "swav", "seed": 1, end: "step 9:\nprototype collapse"}
    table = accuracies([row("swav", 0, 0.5), lost, *RANDOM])
    assert cells(table)["swav"]["seeds above"] == "1 of 2"
    assert table.endswith(f"- `swav`, batches of 32, seed 1, {end}: step 9: prototype collapse")
    sizes = {512: [row("swav", size=512)], 32: [lost | {"seed": 0}]}
    assert cells(batches(sizes))["swav"]["32"] == end


def test_recipes_that_are_not_above_are_shown_with_more_steps():
    lost = {"data": "cifar10", "batch_size": 256, "recipe": "vicreg", "seed": 0, "ended": "collapse"}
    usual = [row("simclr", 0, 0.5), row("simclr", 1, 0.32), row("nce", knn=0.5), row("byol", knn=0.3), lost, *RANDOM]
    assert not_above(usual) == ["simclr", "byol", "vicreg"]
    assert not_above(usual[:-2]) == []  # without random encoders there is nothing to compare with
    more = [row("simclr", 0, 0.5, size=32), row("simclr", 1, 0.4, size=32), row("nce", knn=0.6, size=32)]
    ended = {"epochs": 5, "batch_size": 32, "seed": 0, "ended": "collapse"}
    more += [row("vicreg", 0, 0.4, size=32), ended | {"recipe": "byol"}, ended | {"recipe": "nce", "seed": 1}]
    head, _, *lines = longer(usual, more).splitlines()
    assert "| 5 epochs in batches of 32 |" in head
    assert lines == [
        "| `simclr` | kNN | 41.0% | 1 of 2 | 45.0% | 39.0% to 51.0% | 32.0% | 2 of 2 | 2 of 2 |",
        "| `vicreg` | kNN |  | 0 of 1 | 40.0% | 39.0% to 41.0% | 32.0% | 1 of 1 | 1 of 1 |",
        "| `byol` | kNN | 30.0% | 0 of 1 |  |  | 32.0% | 0 of 1 | 0 of 1 |",
        "",
        "- `byol`, batches of 32, seed 0, ended: collapse",
    ]


def test_recipes_are_in_the_order_of_what_they_are_judged_by():
    rows = [
        *RANDOM,
        row("flip", knn=0.9, layer=0.3, best_layer=1),
        row("rotation", knn=0.1, layer=0.4, best_layer=1),
        row("simclr", knn=0.2),
        row("byol", knn=0.3),
    ]
    assert list(by_recipe(rows)) == ["byol", "simclr", "rotation", "flip", "random encoder"]


def test_figures_are_means_over_the_seeds_of_which_they_were_measured():
    rows = [row("simclr", 0), row("simclr", 1, megabytes=900.0), row("simclr", 2, megabytes=1000.0), *RANDOM]
    found = cells(figures(rows))
    assert found["simclr"]["peak memory, MB"] == "950"
    assert found["random encoder"]["peak memory, MB"] == ""


def test_batches_shrink_from_the_largest_to_the_smallest():
    sizes = {size: [row("simclr", 0, accuracy, size=size)] for size, accuracy in ((512, 0.4), (256, 0.41), (32, 0.43))}
    sizes[32].append(row("simclr", 1, 0.5, size=32))  # another seed
    found = cells(batches(sizes))["simclr"]
    assert (found["512"], found["32"], found["512 to 32"]) == ("40.0%", "43.0%", "+3.0")


def test_the_page_keeps_its_text_and_gets_its_tables(tmp_path):
    page = tmp_path / "recipes.md"
    rows = [row("simclr", alignment=0.1), *RANDOM]
    marks = [f"<!-- cifar10 {name} -->\nold\n<!-- end -->" for name in ("accuracies", "figures")]
    page.write_text("Before.\n" + "\nBetween.\n".join(marks) + "\nAfter.\n")
    write_page(page, {"cifar10": rows, "clothing": []}, {256: rows, 32: []}, {})
    text = page.read_text()
    assert all(word in text for word in ("Before.", "Between.", "After.", accuracies(rows), figures(rows)))
    assert "old" not in text
    assert (tmp_path / "recipes_cifar10.png").exists()
    page.write_text(marks[0])
    with pytest.raises(SystemExit, match="add the marks <!-- cifar10 figures -->"):
        write_page(page, {"cifar10": rows}, {}, {})
