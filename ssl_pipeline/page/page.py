"""Write the report on a run as one self-contained file, which needs no network, no server and no other file."""

import base64
import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from ssl_pipeline.config import Config
from ssl_pipeline.deployment.stored import embed_stored
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.page import facts
from ssl_pipeline.page.chart import Chart, draw_chart
from ssl_pipeline.page.curated import Curated, read_curated
from ssl_pipeline.page.facts import Places, pictures
from ssl_pipeline.page.pile import Pile, open_pile
from ssl_pipeline.page.shipped_variants import read_variants
from ssl_pipeline.page.tables import MOST_CLASSES
from ssl_pipeline.page.texts import read_texts
from ssl_pipeline.page.thumbnails import Sheet, draw_sheet
from ssl_pipeline.page.verdict import read_verdict, told
from ssl_pipeline.products import atomic_file, read_json
from ssl_pipeline.remedies import make
from ssl_pipeline.terminal import printable
from ssl_pipeline.yaml_file import in_yaml

__all__ = ["Written", "write_page"]

_TEMPLATES = Path(__file__).with_name("templates")
_CONTACTS = 60  # images on the contact sheet
_SAMPLES = 8  # images whose neighbours are shown
_CONFUSED = 10  # images shown of each pair of confused classes

_TRAINED = {"curves": "Curves over the steps of pretraining, with the healthy range where one is known."}
_JUDGED = {
    "clusters": "Stability of the clusters by their number and, if there are labels, their agreement with the classes.",
    "merged_pairs": "Images of pairs of classes that share clusters.",
    "split_classes": "Images of classes that are split into several clusters.",
}


class Thumb(NamedTuple):
    """A thumbnail on the page.

    Attributes:
        column: Column in the sheet of thumbnails, from 0.
        row: Row in the sheet of thumbnails, from 0.
        caption: Path of the image, with its label if it has one.
    """

    column: int
    row: int
    caption: str


class Written(NamedTuple):
    """Figures about a written page.

    Attributes:
        size: Size of the file in bytes.
        mapped: Number of images on the map.
        images: Number of images in the store.
    """

    size: int
    mapped: int
    images: int


def write_page(title: str, places: Places, config: Config, path: Path) -> Written:
    """Write the page from the products that exist.

    Args:
        title: Name of the data set, such as the name of its folder.
        places: Locations of the products.
        config: Settings of params.yaml.
        path: Path of the page.

    Raises:
        PipelineError: The stage ingest has not run, or a product is damaged.
    """
    data = facts.read_data(places)
    if data is None:
        raise PipelineError(f"{places.ingested} does not exist: {make('ingest')}.")
    pile = open_pile(places.store)
    curated = read_curated(places, pile)
    chart = _chart(places, pile, config.report.map_images, curated)
    contacts = pile.by_chance("contacts")[:_CONTACTS].tolist()
    confused = _confused(places, pile)
    wanted = [*(chart.positions if chart else []), *contacts, *(place for pair in confused for place in pair[1])]
    wanted += [place for cluster in (curated.clusters if curated else []) for place in cluster.positions]
    sheet = draw_sheet(pile, list(dict.fromkeys(wanted)))

    def thumbs(positions: Sequence[int]) -> list[Thumb]:
        return [_thumb(sheet, pile, position) for position in positions]

    context = {
        "title": title,
        "verdict": _verdict(places),
        "data": data,
        "splits": [split.name for split in pile.splits],
        "contacts": thumbs(contacts),
        "views": _views(places),
        "training": _training(places),
        "chart": chart,
        "map_data": chart and {**chart.data, "side": sheet.side, "columns": sheet.columns, "most_keys": MOST_CLASSES},
        "samples": chart and _samples(chart, thumbs),
        "clusters": _clusters(places),
        "curated": curated,
        "alike": [(cluster, thumbs(cluster.positions)) for cluster in curated.clusters] if curated else [],
        "texts": read_texts(places),
        "confusion": _confusion(places, [(pair, thumbs(positions)) for pair, positions in confused]),
        "budgets": facts.budgets(places),
        "shipped": facts.shipped(places),
        "variants": read_variants(places),
        "proof": facts.details(places, "export", facts.proofs),
        "repeat": _repeat(places, config),
        "sheet": sheet,
    }
    text = _render(context)
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Written(path.stat().st_size, len(chart.positions) if chart else 0, len(pile))


def _chart(places: Places, pile: Pile, most: int, curated: Curated | None) -> Chart | None:
    if not places.backbone.exists():
        return None
    positions = pile.by_chance("map")[:most]
    ways = curated.ways(positions.tolist()) if curated else []
    return draw_chart(pile, positions.tolist(), embed_stored(places.backbone, pile.splits, positions), ways)


def _thumb(sheet: Sheet, pile: Pile, position: int) -> Thumb:
    row = pile.rows[position]
    number = sheet.number[position]
    return Thumb(
        number % sheet.columns, number // sheet.columns, f"{row.path} ({row.label})" if row.label else row.path
    )


def _samples(chart: Chart, thumbs: Any) -> list[tuple[Thumb, list[Thumb]]]:
    """Return thumbnails of some images on the map, each with those of its neighbours."""

    def of(numbers: Sequence[int]) -> list[Thumb]:
        found: list[Thumb] = thumbs([chart.positions[number] for number in numbers])
        return found

    return [(of([number])[0], of(chart.nearest[number].tolist())) for number in chart.samples(_SAMPLES)]


def _confused(places: Places, pile: Pile) -> list[tuple[facts.Confusion, list[int]]]:
    """Return the pairs of confused classes, each with the positions of some of its images."""
    test = pile.labelled("test")
    pairs = facts.confusions(places, [pile.rows[position].label for position in test])
    return [(pair, [test[number] for number in pair.numbers[:_CONFUSED]]) for pair in pairs]


def _verdict(places: Places) -> dict[str, Any] | None:
    if not (places.reports / "finetune" / "verdict.txt").exists():
        return None
    found = read_verdict(places.reports)
    alts = {"label_budget": "Test accuracy over labels per class; the table of label budgets has the numbers."}
    lines = found.lines
    budgets = sum(line.startswith("With ") for line in lines)
    accuracies = facts.details(places, "linear_eval", facts.accuracies)
    return {
        "sentence": lines[0] if lines else "",
        "budgets": lines[1 : 1 + budgets],
        "notes": " ".join(lines[1 + budgets :]),
        "picture": pictures(places.reports / "finetune" / "pictures", "finetune", alts).get("label_budget"),
        "accuracies": accuracies,
        "measured": bool(budgets or accuracies),
    }


def _views(places: Places) -> dict[str, Any] | None:
    alts = {"preview": "Some images, each beside augmented views of it."}
    picture = pictures(places.augmented, "augment", alts).get("preview")
    if picture is None:
        return None
    path = places.augmented / "policy.json"
    return {"picture": picture, "policy": facts.readable(read_json(path, "augment"))}


def _training(places: Places) -> dict[str, Any] | None:
    folder = places.reports / "pretrain"
    if not (folder / "details.json").exists():
        return None
    return {
        "picture": pictures(folder / "pictures", "pretrain", _TRAINED).get("curves"),
        "last": facts.details(places, "pretrain", facts.figures),
        "shipped_step": facts.details(places, "pretrain", lambda last: last.get("shipped_step")),
        "warnings": told(folder / "warnings.json", "pretrain", facts.warnings),
    }


def _clusters(places: Places) -> dict[str, Any] | None:
    folder = places.reports / "linear_eval" / "pictures"
    found = facts.details(places, "linear_eval", facts.clusters)
    return found and {**found, "pictures": list(pictures(folder, "linear_eval", _JUDGED).values())}


def _confusion(places: Places, pairs: list[tuple[facts.Confusion, list[Thumb]]]) -> dict[str, Any] | None:
    alts = {"confusion": "Confusion matrix of the linear probe on test images; the table of recalls lists the classes."}
    picture = pictures(places.reports / "linear_eval" / "pictures", "linear_eval", alts).get("confusion")
    if picture is None:
        return None
    return {"picture": picture, "pairs": pairs, "recalls": facts.recalls(places)}


def _repeat(places: Places, config: Config) -> dict[str, Any]:
    card = told(places.card, "pretrain", lambda path: read_json(path, "pretrain")) if places.card.exists() else {}
    return {
        "params": in_yaml(config.model_dump(mode="json")),
        "versions": {"Python": platform.python_version(), **card.get("versions", {})},
        "digests": facts.digests(places, card),
    }


def _render(context: dict[str, Any]) -> str:
    script, style = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("map.js", "page.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else printable(value),
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    page = environment.get_template("page.html")
    return page.render(**context, script=Markup(script), style=Markup(style), script_digest=digest)
