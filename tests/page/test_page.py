"""The page: its contents, the harmlessness of hostile text in it, and the omission of parts without products."""

import base64
import csv
import hashlib
import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ssl_pipeline.config import Config
from ssl_pipeline.data.tables import harmless
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.page import chart
from ssl_pipeline.page.page import write_page
from tests.page.conftest import places_of
from tests.page.small_run import IMAGES, MARKUP, SCRIPT, TURNED, VERDICT, write, write_backbone, write_store

SECTIONS = ["verdict", "data", "views", "training", "map-section", "neighbours", "clusters", "curation", "confusion"]
SECTIONS += ["budgets", "ships", "repeat"]


class Parsed(HTMLParser):
    """The elements of a page, their attributes and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data  # a script arrives in pieces
        else:
            self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="session")
def parsed(page: Path) -> Parsed:
    return Parsed(page.read_text(encoding="utf-8"))


def data_of(parsed: Parsed) -> dict[str, Any]:
    return json.loads(parsed.scripts[0])


def sections(text: str) -> list[str]:
    return [attributes["id"] for attributes in Parsed(text).of("section")]


def test_each_stage_has_its_section_and_the_verdict_comes_first(parsed: Parsed):
    assert [section["id"] for section in parsed.of("section")] == SECTIONS
    links = [link["href"] for link in parsed.of("a")]
    assert links == ["#main", *(f"#{section}" for section in SECTIONS)]
    words = " ".join(parsed.words)
    assert words.index(VERDICT[0]) < words.index("Contact sheet")
    assert "90.0% [85.0, 94.0]" in words


def test_headings_pictures_and_tables_are_named_for_those_who_cannot_see(parsed: Parsed):
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(picture["alt"] for picture in parsed.of("img"))
    assert all(span["aria-label"] for span in parsed.of("span") if span.get("role") == "img")
    named = {attributes.get("id") for _, attributes in parsed.elements}
    assert all(section["aria-labelledby"] in named for section in parsed.of("section"))
    assert len(parsed.of("table")) == len(parsed.of("caption"))


def test_strangers_text_stays_text(parsed: Parsed, page: Path):
    assert len(parsed.of("script")) == 2
    assert not [attributes for _, attributes in parsed.elements if any(name.startswith("on") for name in attributes)]
    sources = [attributes[name] for _, attributes in parsed.elements for name in ("src", "href") if name in attributes]
    assert all(source.startswith(("data:", "#")) for source in sources)
    captions = [span["aria-label"] for span in parsed.of("span") if span.get("role") == "img"]
    assert f"{MARKUP}/{SCRIPT} ({MARKUP})" in captions
    assert TURNED not in page.read_text(encoding="utf-8")


def test_the_script_is_told_every_image_with_its_path_as_it_is(parsed: Parsed, page: Path):
    data = data_of(parsed)
    assert len(data["paths"]) == len(data["places"]) == len(data["nearest"]) == IMAGES
    assert f"{MARKUP}/{SCRIPT}" in data["paths"]
    assert f"{MARKUP}/{MARKUP}{TURNED}.png" in data["paths"]
    assert page.read_text(encoding="utf-8").count("</script>") == 2
    assert [way["title"] for way in data["ways"]] == [
        "Label",
        "Cluster",
        "Suspected label",
        "Outlier score",
        "Own label",
        "Split",
    ]
    assert data["ways"][0]["names"] == sorted(["plain", MARKUP])
    assert all(0 <= place <= 1 for pair in data["places"] for place in pair)


def test_the_map_is_coloured_by_what_curate_found(parsed: Parsed, small_run: Path):
    data = data_of(parsed)
    ways = {way["title"]: way for way in data["ways"]}
    with (small_run / "reports/curate/images.csv").open(newline="", encoding="utf-8") as file:
        told = {line["path"]: line for line in csv.DictReader(file)}
    for number, path in enumerate(data["paths"]):
        line = told[harmless(path, True)]
        assert ways["Cluster"]["names"][ways["Cluster"]["of"][number]].startswith(f"{line['cluster']}, mostly {MARKUP}")
        assert ways["Outlier score"]["values"][number] == float(line["outlier_score"])
        assert ways["Own label"]["values"][number] == (float(line["own_label"]) if line["own_label"] else None)
    assert "".join(parsed.words).count(f", mostly {MARKUP} (75%): ") == 2


def test_what_curate_counted_is_told_in_words(parsed: Parsed):
    words = " ".join("".join(parsed.words).split())
    assert "pairs of near-duplicates across two splits12,345" in words
    assert "(mislabelled, or merely hard)3, by a probe with an accuracy of 88%" in words
    assert "other0.25" in words


def test_what_may_have_been_learned_instead_is_told_beside_chance(parsed: Parsed):
    words = " ".join("".join(parsed.words).split())
    assert f"the {MARKUP}91%50%25%" in words
    assert f"Properties that the embeddings predict no better than chance: {MARKUP} by chance." in words
    assert f"{MARKUP} by chance27%" not in words


def test_the_page_says_from_where_clusters_are_numbered(parsed: Parsed):
    words = " ".join("".join(parsed.words).split())
    assert "numbered from 0, the largest one, as in the column cluster of reports/curate/images.csv." in words
    assert "Cluster 0, mostly" in words


def test_what_the_proof_was_made_on_is_counted(parsed: Parsed):
    words = " ".join("".join(parsed.words).split())
    assert "4 original images, one of them also resized, flipped and in grey: 2 shapes in all, with CPU" in words


def test_the_policy_lets_no_other_script_run_and_nothing_be_loaded(parsed: Parsed):
    policy = next(meta["content"] for meta in parsed.of("meta") if "http-equiv" in meta)
    script = parsed.scripts[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'; img-src data:;" in policy
    assert "http" not in policy


def test_confused_images_are_those_that_were_confused(parsed: Parsed, small_run: Path):
    words = "".join(parsed.words)
    lines = (small_run / "reports/linear_eval/confusion.csv").read_text().splitlines()[1:]
    wrong = sum(not line.startswith("plain") for line in lines)
    assert wrong
    assert f"{MARKUP} mistaken for plain: {wrong}" in words


def test_variants_that_ship_and_reasons_why_others_do_not(parsed: Parsed):
    words = " ".join(" ".join(parsed.words).split())
    assert "fp32 1 0.25 0.25" in words
    assert "fp16 0.50 98.0% 0.25 0.25 +90.0 [+85.0, +94.0]" in words
    assert "judged on validation images: fp16 ." in words
    assert f"int8 does not ship: min_recall: 0.1, bound 0.8 {MARKUP}." in words
    assert any(image["alt"].startswith("Accuracy of nearest neighbours over the time") for image in parsed.of("img"))


def test_a_run_of_ingest_alone_has_a_page(small_run: Path, tmp_path: Path, config: Config):
    shutil.copytree(small_run / "data/ingested", tmp_path / "data/ingested")
    found = write_page(MARKUP, places_of(tmp_path), config, tmp_path / "index.html")
    assert found.mapped == 0
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert sections(text) == ["data", "repeat"]
    assert "<script>" not in text


def test_with_accuracies_the_page_does_not_ask_for_labels(parsed: Parsed):
    assert not any("label some images of each class" in words for words in parsed.words)
    assert "from the label alone" in parsed.words


def test_without_labels_the_page_tells_what_needs_none(tmp_path: Path, config: Config):
    write_store(tmp_path, labelled=False)
    write_backbone(tmp_path / "models/export/backbone.onnx")
    unknown = {"clusters": {"images": 60, "labelled": 0, "verdict": "unknown", "reason": "too few"}, "no_probe": "none"}
    write(tmp_path, "reports/linear_eval/details.json", unknown)
    write(tmp_path, "reports/linear_eval/confusion.csv", "actual,predicted\n")
    write(tmp_path, "reports/finetune/details.json", {"labelled": False})
    write(tmp_path, "reports/finetune/verdict.txt", "Nothing to compare without labels.\n")
    write_page(MARKUP, places_of(tmp_path), config, tmp_path / "index.html")
    parsed = Parsed((tmp_path / "index.html").read_text(encoding="utf-8"))
    found = [section["id"] for section in parsed.of("section")]
    assert found == ["verdict", "data", "map-section", "neighbours", "clusters", "ships", "repeat"]
    assert "Nothing to compare without labels." in parsed.words
    assert any("label some images of each class" in words for words in parsed.words)
    assert [way["title"] for way in data_of(parsed)["ways"]] == ["Split"]


def test_without_ingest_there_is_nothing_to_report(tmp_path: Path, config: Config):
    with pytest.raises(PipelineError, match="Run `dvc repro ingest` first"):
        write_page(MARKUP, places_of(tmp_path), config, tmp_path / "index.html")


@pytest.mark.parametrize(
    ("file", "content", "stage"),
    [
        ("reports/export/details.json", "{}", "export"),
        ("reports/finetune/pictures/label_budget.png", "no picture", "finetune"),
        ("reports/linear_eval/confusion.csv", "actual,predicted\na,b,c\n", "linear_eval"),
        ("reports/linear_eval/confusion.csv", "actual,predicted\n" + "x,y\n" * 999, "linear_eval"),
        ("reports/pretrain/warnings.json", "[3]", "pretrain"),
        ("data/ingested/rejects.csv", "", "ingest"),
        ("reports/curate/images.csv", "path,cluster\nx.png,0\n", "curate"),
        ("reports/curate/images.csv", "path,cluster\n", "curate"),
        ("reports/curate/details.json", '{"clusters": [{"images": 1, "central": "x.png"}]}', "curate"),
    ],
)
def test_a_damaged_product_is_named(
    file: str, content: str, stage: str, small_run: Path, tmp_path: Path, config: Config
):
    root = shutil.copytree(small_run, tmp_path / "run")
    (root / file).write_text(content)
    with pytest.raises(PipelineError, match=f"{re.escape(file)} is damaged .*dvc repro --force {stage}"):
        write_page(MARKUP, places_of(root), config, root / "index.html")
    assert not (root / "index.html").exists()


def test_the_same_run_has_the_same_page(small_run: Path, page: Path, tmp_path: Path, config: Config):
    write_page(MARKUP, places_of(small_run), config, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_of_many_images_some_are_on_the_map(small_run: Path, tmp_path: Path, config: Config):
    fewer = config.model_copy(update={"report": config.report.model_copy(update={"map_images": 20})})
    assert write_page(MARKUP, places_of(small_run), fewer, tmp_path / "few.html").mapped == 20
    text = (tmp_path / "few.html").read_text(encoding="utf-8")
    assert f"20 of {IMAGES} images, laid out by t-SNE" in text


def test_a_table_of_many_labels_ends_and_says_so(
    small_run: Path, tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chart, "MOST_CLASSES", 1)
    write_page("x", places_of(small_run), config, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "neighbours of images with the first 1 of 2 labels" in text
    assert text.count('<td class="n">30</td>') == 1
