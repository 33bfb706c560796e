"""model_card.md: what the model is, what it was trained on, how good it is, what was proved, and its limits.

Names of classes, licences and parameters are untrusted text: their characters are escaped for Markdown.
"""

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from ssl_pipeline.deployment.runtime import TEXT
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.page.facts import accuracies, proofs
from ssl_pipeline.page.texts import retrieval_tables, zero_shot
from ssl_pipeline.page.verdict import percent
from ssl_pipeline.products import read_json, read_product
from ssl_pipeline.terminal import brief, shown
from ssl_pipeline.yaml_file import in_yaml

__all__ = ["Told", "model_card", "read_told"]

TEMPLATES = Path(__file__).parent / "templates"
_MOST_CLASSES, _MOST_LETTERS = 50, 200
_SIGNS = str.maketrans({sign: f"\\{sign}" for sign in set(string.punctuation) - set(",=%;?^'/")})
_MACHINE = ("checkpoint_minutes", "devices", "on_collapse", "collapse")
"""Parameters of pretraining that do not describe the model."""
_RATES = {
    "copies_missed": "of re-encoded copies fall below it",
    "others_taken": "of images have another image that close, true duplicates included",
    "images_taken": "of images have another image that close",
    "false_alarms": "of images of the same kind fall below it",
}


@dataclass(frozen=True)
class Told:
    """Results of a run, as its stages have written them.

    Attributes:
        manifest: Manifest of the images, from the stage ingest.
        trained: Card of the trained encoder.
        export: Figures of the stage export.
        linear: Figures of the stage linear_eval.
        finetune: Figures of the stage finetune.
        contact: Person or address to contact, None if none is stated.
    """

    manifest: Mapping[str, Any]
    trained: Mapping[str, Any]
    export: Mapping[str, Any]
    linear: Mapping[str, Any]
    finetune: Mapping[str, Any]
    contact: str | None


def read_told(ingested: Path, pretrain: Path, reports: Path, contact: str | None) -> Told:
    """Read the results that the stages have written.

    Args:
        ingested: Folder of the stage ingest.
        pretrain: Folder of the stage pretrain.
        reports: Folder of all reports.
        contact: Person or address to contact, None if none is stated.

    Raises:
        PipelineError: A product is missing or damaged.
    """
    details = {
        stage: read_json(reports / stage / "details.json", stage) for stage in ("export", "linear_eval", "finetune")
    }
    return Told(
        read_json(ingested / "manifest.json", "ingest"),
        read_product(pretrain / "model.json", "pretrain"),
        details["export"],
        details["linear_eval"],
        details["finetune"],
        contact,
    )


def model_card(
    told: Told,
    about: Mapping[str, str],
    files: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    no_classifier: str = "",
    *,
    triton: bool = False,
) -> str:
    """Return the model card in Markdown.

    Args:
        told: Results that the stages have written.
        about: Metadata of the backbone.
        files: Description of each graph: `name`, `size` in bytes, `precision`, and `gives`, its outputs in words.
        classes: Classes of the classifier, empty if there is none.
        no_classifier: Reason why there is no classifier.
        triton: Whether the bundle has configurations for Triton.

    Raises:
        PipelineError: A product of a stage is damaged, or was written by another version of the stage.
    """
    try:
        facts = _facts(told, about, files, classes) | {"no_classifier": no_classifier, "triton": triton}
        return _environment().get_template("model_card.md").render(facts)
    except (AttributeError, KeyError, TypeError, ValueError, jinja2.UndefinedError) as error:
        raise PipelineError(
            f"The model card cannot be written ({brief(repr(error))}): a product of a stage is damaged or has a "
            "different format version. Run `dvc repro --force`."
        ) from error


def _facts(
    told: Told, about: Mapping[str, str], files: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> dict[str, Any]:
    linear, finetune = told.linear, told.finetune
    return {
        "dim": int(about["embedding_dim"]),
        "unit": json.loads(about["l2_normalized"]),
        "licence": about.get("licence"),
        "start": _start(told.trained),
        "contact": told.contact,
        "about": _about(about),
        "files": files,
        "classes": classes[:_MOST_CLASSES],
        "number_of_classes": len(classes),
        "data": _data(told.manifest),
        "frozen_start": "" if told.trained["pretrain"]["epochs"] else Path(told.trained["init"]).name,
        "parameters": _parameters(told.trained),
        "shipped_step": told.trained.get("shipped_step"),
        "versions": ", ".join(f"{name} {version}" for name, version in told.trained["versions"].items()),
        "accuracies": accuracies({name: value for name, value in linear.items() if name != "rivals"}),
        "not_measured": linear.get("no_probe", "there were no labels"),
        "budgets": _budgets(finetune),
        "reads_texts": any(file["name"] == TEXT for file in files),
        "retrieval": retrieval_tables(linear),
        "zero_shot": zero_shot(linear),
        "proofs": proofs(told.export),
        "variants": _variants(told.export),
        "thresholds": _thresholds(about),
        "compared_with": json.loads(about.get("thresholds", "{}")).get("novel", {}).get("compared_with"),
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"text": in_markdown, "code": _in_code}
    return environment


def in_markdown(text: str) -> str:
    """Return untrusted text on one line, of bounded length, with every character that Markdown interprets escaped."""
    return shown(text, _MOST_LETTERS).translate(_SIGNS)


def _in_code(text: object) -> str:
    """Return text that can be put between backticks."""
    return shown(str(text), _MOST_LETTERS).replace("`", "'").replace("|", "/")


def _about(metadata: Mapping[str, str]) -> dict[str, str]:
    names = ("input", "size", "resize", "weights_sha256", "params_sha256")
    recipe, backbone = (json.loads(metadata[name]) for name in ("recipe", "backbone"))
    options = " ".join(f"{name}={value}" for name, value in backbone.items() if name != "name")
    return {
        **{name: metadata[name] for name in names},
        "data_sha256": metadata.get("data_sha256", "not recorded"),
        "recipe_name": str(recipe["name"]),
        "backbone_name": f"{backbone['name']} {options}".strip(),
    }


def _start(trained: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the name and the licence of the weights that training started from, or None if they were random."""
    init = trained["init"]
    if init == "random":
        return None
    published = f"published weights of {trained['backbone']['name']}" if init == "pretrained" else init
    return {
        "name": Path(init).name if trained["init_sha256"] else published,
        "licence": trained.get("init_licence") or "not stated",
    }


def _data(manifest: Mapping[str, Any]) -> dict[str, Any]:
    labelled = [manifest["splits"][name]["labelled"] for name in ("train", "val", "test")]
    return {"counts": manifest["counts"], "labelled": labelled, "sha256": manifest["source"]["sha256"]}


def _parameters(trained: Mapping[str, Any]) -> str:
    """Return the parameters of pretraining as a code block, without those that only concern the machine."""
    passed_over = {"recipe", *trained["recipe"], *_MACHINE}  # overrides are already part of the recipe
    chosen = {name: value for name, value in (trained["pretrain"] or {}).items() if name not in passed_over}
    init = Path(trained["init"]).name if trained["init_sha256"] else trained["init"]  # paths are not published
    chosen = {"recipe": trained["recipe"], **chosen, "init": init}
    lines = in_yaml(chosen).splitlines()
    return "\n".join(f"    {shown(line, 10 * _MOST_LETTERS)}" for line in lines)


def _budgets(finetune: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "images": budget["images"],
            "pretrained": percent(budget["finetune"]),
            "random": percent(budget["random"]),
            "finding": budget["finding"].replace("_", " "),
        }
        for name, budget in finetune.get("budgets", {}).items()
    ]


def _variants(export: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return whether each variant ships, with its figures if it does, or the bounds that it broke."""
    found = []
    for name, variant in export.get("variants", {}).items():
        gate = variant.get("gate", {})
        figures = ", ".join(f"{key.replace('_', ' ')} {value:.6g}" for key, value in gate.items())
        found.append(
            {
                "name": f"backbone_{name}.onnx",
                "ships": variant["ships"],
                "figures": figures if variant["ships"] else "; ".join(variant["broken"]),
            }
        )
    return found


def _thresholds(about: Mapping[str, str]) -> list[dict[str, str]]:
    words = {
        "same_image": "the same",
        "near_duplicate": "near-duplicates",
        "novel": "unrelated: a new image and every training image",
    }
    return [
        {
            "name": f"{words[name]} (`{name}`)",
            "cosine": f"{'below' if name == 'novel' else 'from'} {found['cosine']:.6f}",
            "rates": "; ".join(f"{100 * found[rate]:.1f}% {of}" for rate, of in _RATES.items() if rate in found),
        }
        for name, found in json.loads(about.get("thresholds", "{}")).items()
    ]
