"""The stages of the pipeline: one thin command per stage, `ssl-pipeline <name>`, and the table that describes them.

dvc.yaml repeats the table for DVC, and a test keeps the two equal. Paths, tests and checks read this table.
"""

from dataclasses import dataclass

__all__ = ["STAGES", "Stage"]


@dataclass(frozen=True)
class Stage:
    """Inputs and outputs of a stage.

    Attributes:
        does: Description in one sentence, for help texts and for `desc` in dvc.yaml.
        section: Name of the stage's section of params.yaml; None for a stage without parameters.
        inputs: Products of earlier stages that the stage reads. Each stage also depends on the digest of its own code.
        outputs: Paths that the stage writes; the first one is the folder of its product.
        graphs: ONNX files that a run with the shipped params.yaml always writes there, so no variants.
        elsewhere: Sections or keys of other sections that the stage also reads.
    """

    does: str
    section: str | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    graphs: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()


def _reports(stage: str, *names: str) -> tuple[str, ...]:
    """Return the paths of a stage's reports."""
    return tuple(f"reports/{stage}/{name}" for name in names)


def _stored(*names: str) -> tuple[str, ...]:
    """Return the paths of parts of the store."""
    return tuple(f"data/ingested/store/{name}" for name in names)


STAGES = {
    "inventory": Stage(
        does="List the source's files and each stage's code, so that DVC re-runs the stages that a change affects.",
        section=None,
        inputs=(),
        outputs=("data/inventory.json", "data/code", "plugins.lock"),
    ),
    "ingest": Stage(
        does="Decode the images once, find copies, and split the images.",
        section="ingest",
        inputs=("data/inventory.json",),
        outputs=("data/ingested", "reports/ingest/details.json"),
    ),
    "augment": Stage(
        does="Write the augmentation policy, its ONNX graphs and a preview of the views.",
        section="augment",
        inputs=("data/ingested/store/train",),
        outputs=("data/augmented",),
        graphs=("augment_global.onnx", "augment_plain.onnx"),
        elsewhere=("pretrain.recipe", "pretrain.recipe_size"),  # augment.views may be left to the recipe
    ),
    "pretrain": Stage(
        does="Learn an encoder from the images, without labels.",
        section="pretrain",
        # no labels and no test images: these are stored beside store/train and store/val, not inside
        inputs=(*_stored("framing.json", "train", "val"), "data/augmented/policy.json"),
        outputs=(
            "models/pretrain",
            *_reports("pretrain", "pictures", "warnings.json", "details.json", "metrics.json", "curves"),
        ),
        graphs=("pretext.onnx",),
    ),
    "export": Stage(
        does="Export the encoder as one ONNX file from pixels to embeddings, and prove that it equals the torch model.",
        section="export",
        inputs=("data/augmented/policy.json", *_stored("originals.npz", "train", "val"), "models/pretrain"),
        outputs=("models/export", "reports/export/details.json", "reports/export/metrics.json"),
        graphs=("backbone.onnx", "backbone_core.onnx", "energy.onnx"),
    ),
    "curate": Stage(
        does="Report duplicate, unusual and mislabelled images, and the images to label next.",
        section="curate",
        inputs=("data/ingested/store", "models/export"),
        outputs=(*_reports("curate", "images.csv", "details.json", "pictures", "metrics.json"),),
    ),
    "linear_eval": Stage(
        does="Evaluate the exported file: linear probe, nearest neighbours, clusters, baselines.",
        section="linear_eval",
        inputs=("data/augmented/policy.json", "data/ingested/store", "models/export", "models/pretrain"),
        outputs=(
            "models/linear_eval",
            *_reports("linear_eval", "clusters.csv", "details.json", "pictures", "recalls.csv"),
            *_reports("linear_eval", "metrics.json", "confusion.csv"),
        ),
        graphs=("linear_probe.onnx",),
    ),
    "finetune": Stage(
        does="Fine-tune on few labels, in comparison with encoders that were not pretrained.",
        section="finetune",
        inputs=(
            "data/augmented/policy.json",
            "data/ingested/store",
            "models/export",
            "models/linear_eval",
            "models/pretrain",
        ),
        outputs=(
            "models/finetune",
            *_reports("finetune", "details.json", "pictures", "label_budget.csv", "verdict.txt", "metrics.json"),
        ),
        graphs=("classifier.onnx",),
    ),
    "report": Stage(
        does="Write one page with all results and a map of the embeddings.",
        section="report",
        inputs=(
            "data/augmented",
            "data/ingested",
            "models/export",
            "models/finetune",
            "models/linear_eval",
            "models/pretrain/model.json",
            *_reports("curate", "details.json", "images.csv", "metrics.json", "pictures"),
            *_reports("export", "details.json"),
            *_reports("finetune", "details.json", "pictures", "verdict.txt"),
            *_reports("linear_eval", "confusion.csv", "details.json", "pictures", "recalls.csv"),
            *_reports("pretrain", "details.json", "pictures", "warnings.json"),
        ),
        outputs=("reports/index.html",),
        # the page shows params.yaml
        elsewhere=("ingest", "augment", "pretrain", "export", "curate", "linear_eval", "finetune"),
    ),
    "bundle": Stage(
        does="Collect everything that ships in one folder, with a model card and a script that verifies it.",
        section="bundle",
        inputs=(
            *(f"data/ingested/{name}" for name in ("manifest.json", "store")),
            "models/export",
            "models/finetune",
            "models/linear_eval",
            "models/pretrain/model.json",
            *(f"reports/{stage}/details.json" for stage in ("export", "finetune", "linear_eval")),
        ),
        outputs=("models/bundle",),
        graphs=("backbone.onnx", "classifier.onnx", "linear_probe.onnx"),
    ),
}
"""Stages by name, in the order in which they run."""
