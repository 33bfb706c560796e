"""The study of starts: the network of downloaded weights, cells that run only once, and their intervals."""

import numpy as np
import pytest
import timm
import torch

from benchmarks import starts
from benchmarks.cells import append
from benchmarks.lite0 import MODEL, SHORT, farthest, renamed
from benchmarks.starts_page import WORDS, accuracies, gains
from ssl_pipeline.evaluation.statistics.estimates import accuracy


def test_tensors_are_renamed_by_order_and_others_refused():
    given = {"a": torch.ones(2), "b": torch.zeros(3)}
    assert list(renamed(given, {"x": torch.zeros(2), "y": torch.zeros(3)})) == ["x", "y"]
    for wrong in ({"x": torch.zeros(3), "y": torch.zeros(2)}, {"x": torch.zeros(2)}):
        with pytest.raises(ValueError, match="differ in number, shape or order"):
            renamed(given, wrong)


def test_published_weights_give_the_same_answers_in_timms_network():
    pytest.importorskip("efficientnet_lite_pytorch", reason="the package of the published network is not installed")
    from benchmarks.lite0 import published

    theirs, ours = published(), timm.create_model(MODEL)
    ours.load_state_dict(renamed(theirs.state_dict(), ours.state_dict()))
    assert max(farthest(theirs, ours, size) for size in (128, 224)) <= 1e-4


def test_a_student_is_a_fifth_of_its_teacher_and_has_its_first_stages():
    teacher, student = timm.create_model(MODEL), timm.create_model(SHORT, num_classes=0)
    assert 5 * sum(weight.numel() for weight in student.parameters()) < sum(w.numel() for w in teacher.parameters())
    own = {
        name: value.shape for name, value in student.state_dict().items() if "head" not in name and "bn2" not in name
    }
    assert own.items() <= {name: value.shape for name, value in teacher.state_dict().items()}.items()


def test_the_first_seed_of_all_comes_first_and_what_is_done_is_not_done_again(tmp_path):
    out, settings = tmp_path / "lines.jsonl", starts.Settings(images=10, epochs=2)
    append(out, {"data": "tracks", "arm": "start", "seed": 0, **settings._asdict()})
    append(out, {"data": "tracks", "arm": "scratch", "seed": 1, "images": 10, "epochs": 3})  # same cell, other settings
    append(out, {"network": "start"})
    cells = starts.undone(out, settings, ("start", "scratch"), ("tracks", "cifar10"), 2)
    assert [tuple(cell) for cell in cells] == [
        ("cifar10", "start", 0),
        ("tracks", "scratch", 0),
        ("cifar10", "scratch", 0),
        ("tracks", "scratch", 1),
        ("cifar10", "scratch", 1),
    ]


def line(arm, seed, draws):
    rights = {"knn": ["0110"], "1": draws}
    return {"data": "tracks", "arm": arm, "seed": seed, "right": rights, "groups": [0, 0, 1, 2], "seconds": 6.0}


def test_arms_are_paired_by_seed_draw_and_image():
    lines = [line("start", 0, ["0000", "1111"]), line("supervised", 0, ["1000"]), line("supervised", 1, ["0111"])]
    start = np.array([[[0, 0, 0, 0], [1, 1, 1, 1]]], float)
    expected = accuracy(start, np.array([0, 0, 1, 2]))
    row = next(row for row in accuracies(lines, "tracks") if row.startswith("| the start, frozen"))
    assert "{:.1%} ({:.1%} to {:.1%})".format(*expected) in row
    taught = next(row for row in gains(lines, WORDS) if row.startswith("| from scratch, with labels"))
    # seed 0 is compared with the start's first draw and has one image more right; seed 1 with the second, and one fewer
    assert [cell.split(" (")[0] for cell in taught.split(" | ")[2:4]] == ["+0.0", "+0.0"]
