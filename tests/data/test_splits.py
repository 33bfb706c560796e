"""Splits: copies are one image, groups stay whole, every class is in every split, and little moves when data change."""

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest

from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.splits import Content, assign, merge_copies
from ssl_pipeline.errors import PipelineError


def sha(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def content(name: str, label: str | None = None, split: str | None = None, *groups: str) -> Content:
    record = Record(name, label, split, groups[0] if groups else None)  # type: ignore[arg-type]
    return Content(sha(name), record, label, frozenset(groups))


def sides(contents: Sequence[Content], seed: int = 0) -> dict[str, str]:
    ordered = sorted(contents, key=lambda item: item.digest)
    chosen, _ = assign(ordered, seed, val_fraction=0.15, test_fraction=0.25)
    return {item.record.path: side for item, side in zip(ordered, chosen, strict=True)}


def remarks(contents: Sequence[Content]) -> list[str]:
    return assign(sorted(contents, key=lambda item: item.digest), 0, 0.15, 0.25)[1]


MANY = [content(f"{label}{number}", label) for label in "abc" for number in range(100)]
POOL = [content(f"pool{number}") for number in range(50)]


def test_each_class_is_shared_out_by_the_fractions() -> None:
    found = Counter((name[0], side) for name, side in sides(MANY).items())
    for label in "abc":
        assert [found[label, side] for side in ("train", "val", "test")] == [64, 11, 25]


def test_unlabelled_images_are_split_last_and_move_nothing() -> None:
    found = sides(MANY + POOL)
    assert all(found[item.record.path] == "train" for item in POOL)
    assert {name: side for name, side in found.items() if not name.startswith("pool")} == sides(MANY)


def test_the_seed_chooses_and_names_do_not() -> None:
    assert sides(MANY) != sides(MANY, seed=1)
    renamed = [
        Content(item.digest, item.record._replace(path=f"x{number}"), item.label, item.groups)
        for number, item in enumerate(MANY)
    ]
    assert Counter(sides(renamed).values()) == Counter(sides(MANY).values())
    ordered, names = sides(MANY), sides(renamed)
    assert [ordered[item.record.path] for item in MANY] == [names[item.record.path] for item in renamed]


def test_one_image_more_moves_few() -> None:
    before, after = sides(MANY), sides([*MANY, content("a100", "a")])
    assert sum(before[name] != after[name] for name in before) <= 2


def test_another_label_moves_few() -> None:
    changed = [content(item.record.path, "b") if item.record.path == "a0" else item for item in MANY]
    before, after = sides(MANY), sides(changed)
    assert sum(before[name] != after[name] for name in before if name != "a0") <= 4


@pytest.mark.parametrize(
    ("number", "expected"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (4, (2, 1, 1)), (8, (5, 1, 2))]
)
def test_small_classes_are_on_as_many_sides_as_they_can(number: int, expected: tuple[int, int, int]) -> None:
    rare = [content(f"rare{index}", "rare") for index in range(number)]
    found = Counter(side for name, side in sides(MANY + rare).items() if name.startswith("rare"))
    assert (found["train"], found["val"], found["test"]) == expected


def test_classes_that_cannot_be_shared_are_named() -> None:
    assert remarks(MANY) == []
    assert remarks([*MANY, content("d", "only")]) == [
        "test has no image of these classes, which have too few images or groups: 'only' (1).",
        "val has no image of these classes, which have too few images or groups: 'only' (1).",
    ]


def test_the_sources_splits_are_kept() -> None:
    given = [
        content(f"{label}-{split}{number}", label, split)
        for label in "ab"
        for split in ("val", "test")
        for number in range(5)
    ]
    found = sides(MANY + given + POOL)
    assert all(found[item.record.path] == item.record.split for item in given)
    assert all(found[item.record.path] == "train" for item in MANY + POOL)


def test_val_comes_from_train_where_only_test_is_given() -> None:
    train = [content(f"{label}{number}", label, "train") for label in "ab" for number in range(40)]
    test = [content(f"t{label}", label, "test") for label in "ab"]
    found = Counter(side for name, side in sides(train + test).items() if not name.startswith("t"))
    assert found == {"train": 68, "val": 12}
    assert sides(train + test)["ta"] == "test"


def test_test_comes_from_train_where_only_val_is_given() -> None:
    train = [content(f"{label}{number}", label, "train") for label in "ab" for number in range(40)]
    val = [content(f"v{label}", label, "val") for label in "ab"]
    found = sides(train + val)
    assert Counter(found.values()) == {"train": 60, "test": 20, "val": 2}
    assert found["va"] == "val"


def test_an_unlabelled_test_split_is_no_substitute_for_labelled_test_images() -> None:
    kept_apart = [content(f"secret{number}", None, "test") for number in range(5)]
    found = sides(MANY + kept_apart)
    assert all(found[item.record.path] == "test" for item in kept_apart)
    assert sum(found[item.record.path] == "test" for item in MANY) == 75


def test_without_labels_val_is_a_share_of_the_pool() -> None:
    assert Counter(sides(POOL).values()) == {"train": 42, "val": 8}
    assert sides(POOL[:1]) == {"pool0": "train"}
    assert Counter(sides(POOL[:2]).values()) == {"train": 1, "val": 1}
    assert remarks(POOL[:1]) == []


def test_an_unlabelled_val_split_is_enough_where_nothing_has_a_label() -> None:
    given = [content(f"val{number}", None, "val") for number in range(3)]
    found = sides(POOL + given)
    assert Counter(found.values()) == {"train": 50, "val": 3}


def test_groups_stay_whole_whatever_else_they_hold() -> None:
    source = random.Random(0)
    contents = []
    for number in range(400):
        label = source.choice(["a", "a", "b", "c", None])
        groups = source.sample([f"g{index}" for index in range(60)], source.choice([0, 1, 1, 2]))
        contents.append(content(f"{number}", label, None, *groups))
    found = sides(contents)
    where = defaultdict(set)
    for item in contents:
        for group in item.groups:
            where[group].add(found[item.record.path])
    assert all(len(splits) == 1 for splits in where.values())
    classes = {
        side: {item.label for item in contents if found[item.record.path] == side} for side in ("train", "val", "test")
    }
    assert all({"a", "b", "c"} <= labels for labels in classes.values())


def test_a_group_too_large_for_a_side_goes_to_train_if_smaller_ones_serve() -> None:
    giant = [content(f"g{number}", "a", None, "giant") for number in range(90)]
    single = [content(f"s{number}", "a") for number in range(10)]
    found = sides(giant + single)
    assert {found[item.record.path] for item in giant} == {"train"}
    assert Counter(found.values())["test"] > 0
    assert Counter(found.values())["val"] > 0


def test_a_groups_given_split_holds_for_all_of_it() -> None:
    contents = [*MANY, content("x", "a", None, "g"), content("y", None, None, "g"), content("z", "a", "test", "g")]
    found = sides(contents)
    assert found["x"] == found["y"] == found["z"] == "test"


def test_a_group_on_two_given_sides_is_refused() -> None:
    contents = [*MANY, content("x.png", "a", "train", "patient 7"), content("y.png", "a", "test", "patient 7")]
    with pytest.raises(PipelineError, match=r"group patient 7: y.png is in test and x.png is in train"):
        sides(contents)


def test_copies_are_one_image() -> None:
    files = [
        (sha("a"), Record("2.png", "cat")),
        (sha("a"), Record("1.png", "cat")),
        (sha("b"), Record("3.png", None)),
        (sha("b"), Record("pool/4.png", "dog", None, "g")),
        (sha("c"), Record("5.png", "dog")),
    ]
    contents, copies = merge_copies(files)
    assert [item.digest for item in contents] == sorted(sha(name) for name in "abc")
    kept = {item.record.path: item for item in contents}
    assert kept.keys() == {"1.png", "pool/4.png", "5.png"}
    assert kept["pool/4.png"].label == "dog"
    assert kept["pool/4.png"].groups == {"g"}
    assert [(copy.path, copy.kept, copy.conflict) for copy in copies] == [
        ("2.png", "1.png", ""),
        ("3.png", "pool/4.png", ""),
    ]
    assert merge_copies(reversed(files)) == (contents, copies)


def test_a_picture_in_train_and_test_is_a_test_image() -> None:
    files = [
        (sha("a"), Record("train/1.png", "cat", "train")),
        (sha("a"), Record("z/1.png", "cat", "test")),
        (sha("a"), Record("pool/1.png")),
        (sha("a"), Record("val/1.png", "cat", "val")),
    ]
    (one,), copies = merge_copies(files)
    assert one.record.path == "z/1.png"
    assert [copy.conflict for copy in copies] == ["split"] * 3
    assert [copy.path for copy in copies] == ["pool/1.png", "train/1.png", "val/1.png"]
    assert copies[1].split == "train"
    assert copies[1].kept_split == "test"


def test_copies_that_contradict_each_other_leave_no_label() -> None:
    files = [(sha("a"), Record("cat/1.png", "cat")), (sha("a"), Record("dog/1.png", "dog"))]
    (one,), (copy,) = merge_copies(files)
    assert one.label is None
    assert copy == ("dog/1.png", "cat/1.png", "dog", "cat", "", "", "label")


def test_groups_that_share_a_picture_are_on_one_side() -> None:
    files = [(sha("shared"), Record("x1", "a", None, "g1")), (sha("shared"), Record("x2", "a", None, "g2"))]
    files += [
        (sha(f"{group}{number}"), Record(f"{group}{number}", "a", None, group))
        for group in ("g1", "g2")
        for number in range(3)
    ]
    contents, _ = merge_copies(files)
    for seed in range(8):
        chosen, _ = assign(contents + [item for item in MANY if item.label == "a"], seed, 0.15, 0.25)
        assert len(set(chosen[: len(contents)])) == 1


def test_a_copy_in_another_split_does_not_tie_its_group_to_the_test() -> None:
    files = [
        (sha("shared"), Record("a1", "x", "train", "a")),
        (sha("a"), Record("a2", "x", "train", "a")),
        (sha("shared"), Record("b1", "x", "test", "b")),
        (sha("b"), Record("b2", "x", "test", "b")),
    ]
    contents, copies = merge_copies(files)
    assert [(copy.path, copy.kept, copy.conflict) for copy in copies] == [("a1", "b1", "split")]
    sides, _ = assign(contents, 0, 0.0, 0.0)
    assert {content.record.path: (side, *content.groups) for content, side in zip(contents, sides, strict=True)} == {
        "a2": ("train", "a"),
        "b1": ("test", "b"),
        "b2": ("test", "b"),
    }
