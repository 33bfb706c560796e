"""The stage curate as a command, on a small store of real digits and an exported backbone."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from ssl_pipeline.data.store import open_split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline_stages.curate import curate
from tests.stages.small_project import SIZES, STORE, run_stage, write_store

REPORTS = Path("reports/curate")
FILES = ("details.json", "images.csv", "metrics.json", "pictures/outliers.png")


def table() -> list[dict[str, str]]:
    with (REPORTS / "images.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def details() -> dict:
    return json.loads((REPORTS / "details.json").read_text())


@pytest.mark.usefixtures("project")
def test_a_line_for_each_image_of_all_splits():
    output = run_stage(curate).output
    rows = table()
    assert [row["split"] for row in rows] == [split for split, size in SIZES.items() for _ in range(size)]
    embeddings = np.concatenate(
        [
            run(open_session(Path("models/export/backbone.onnx")), part.images(np.arange(len(part))))
            for part in (open_split(STORE, name) for name in ("train", "val", "test"))
        ]
    )
    cosines = embeddings @ embeddings.T
    np.fill_diagonal(cosines, -1)
    assert [row["nearest"] for row in rows] == [rows[number]["path"] for number in cosines.argmax(axis=1)]
    np.testing.assert_allclose([float(row["similarity"]) for row in rows], cosines.max(axis=1), atol=1e-4)
    assert {row["label"] for row in rows} == {f"digit {n}" for n in range(10)}
    assert max(int(row["cluster"]) for row in rows) == 19
    assert all(0 <= float(row["own_label_probability"]) <= 1 for row in rows)
    assert details()["label_errors"]["probe_accuracy"] > 0.6
    assert sum(row["suspected_label"] != "" for row in rows) == details()["label_errors"]["suspected"]
    assert details()["label_next"] == {"by": "random", "typical": 0, "paths": []}  # all images have a label
    assert details()["shortcuts"] == {}  # all files have the same size and are in one folder
    scores = [float(row["outlier_score"]) for row in rows]
    first = details()["outliers"]["listed"][0]
    assert first["path"] == rows[int(np.argmax(scores))]["path"]
    assert f"oddest: {first['path']}" in output


@pytest.mark.usefixtures("project")
def test_a_copy_in_another_split_is_named():
    test = open_split(STORE, "test")
    images = test.images(np.arange(len(test)))
    images[5] = open_split(STORE, "train").images(np.array([3]))[0]
    shutil.rmtree(STORE / "test")
    write_split(STORE / "test", test.ids, [images], 8)
    output = run_stage(curate).output
    assert "leakage: 3.png (train) and 265.png (test) are near-duplicates" in output
    found = details()["near_duplicates"]
    assert {
        **found["listed"][0],
        "similarity": round(found["listed"][0]["similarity"], 5),
    } == {"paths": ["3.png", "265.png"], "splits": ["train", "test"], "similarity": 1.0}
    groups = {row["path"]: row["near_duplicates"] for row in table()}
    assert groups["3.png"] == groups["265.png"] != ""
    assert json.loads((REPORTS / "metrics.json").read_text())["near_duplicates_across_splits"] >= 1
    assert (REPORTS / "pictures/near_duplicates.png").exists()


@pytest.mark.usefixtures("project")
def test_without_labels_and_twice_the_same_bytes():
    write_store(STORE, lambda split, labels: [""] * len(labels))
    run_stage(curate)
    rows = table()
    assert {row["label"] + row["own_label_probability"] + row["suspected_label"] for row in rows} == {""}
    ranked = sorted((int(row["label_next"]), row["path"]) for row in rows if row["label_next"])
    assert [rank for rank, _ in ranked] == list(range(1, 51))
    assert [path for _, path in ranked] == details()["label_next"]["paths"]
    assert {row["split"] for row in rows if row["label_next"]} == {"train", "val"}
    first = {name: (REPORTS / name).read_bytes() for name in FILES}
    run_stage(curate)
    assert {name: (REPORTS / name).read_bytes() for name in FILES} == first


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("missing", "maker"), [("models/export", "export"), ("data/ingested/store/index.csv", "ingest")]
)
def test_out_of_order(missing: str, maker: str):
    shutil.move(missing, "elsewhere")
    output = run_stage(curate, 1).output
    assert "does not exist" in output
    assert f"dvc repro {maker}" in output
    assert not REPORTS.exists()


@pytest.mark.usefixtures("project")
def test_an_index_of_another_version_is_told():
    from ssl_pipeline.products import record

    index = STORE / "index.csv"
    index.write_text(index.read_text().replace("group,", "grouping,", 1))
    record(index)
    assert "has a different format version" in run_stage(curate, 1).output


@pytest.mark.usefixtures("project")
def test_a_mistake_in_its_section_is_named():
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["curate"] |= {"clusters": 0, "label_next_by": "chance"}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    output = run_stage(curate, 2).output
    assert "curate.clusters" in output
    assert "curate.label_next_by" in output
