"""The pipeline's stages: one thin command each, `ssl-pipeline <name>`, and the one table of what they are.

dvc.yaml says the same to DVC, and a test holds the two together; paths, tests and checks read this table.
"""

from dataclasses import dataclass

__all__ = ["STAGES", "Stage"]


@dataclass(frozen=True)
class Stage:
    """A stage: what it needs and what it leaves.

    Attributes:
        does: What it does, for help and for dvc.yaml's `desc`.
        section: Its section of params.yaml; None for a stage without parameters.
        inputs: Products of earlier stages that it reads. Each stage also depends on the digest of its own code.
        outputs: What it writes; the first one is the folder of its product.
        graphs: ONNX files that every run with the shipped params.yaml leaves in that folder; variants may be dropped.
        elsewhere: Parameters of other sections that it reads as well.
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
        does="List the files of the source and the code of each stage, so that what depends on a change runs again.",
        section=None,
        inputs=(),
        outputs=("data/inventory.json", "data/code", "plugins.lock"),
    ),
    "ingest": Stage(
        does="Decode the images once, look for copies, and split them.",
        section="ingest",
        inputs=("data/inventory.json",),
        outputs=("data/ingested", "reports/ingest/details.json"),
    ),
    "augment": Stage(
        does="Write the policy of views, its ONNX graphs and a preview.",
        section="augment",
        inputs=("data/ingested/store/train",),
        outputs=("data/augmented",),
        graphs=("augment_global.onnx", "augment_plain.onnx"),
        elsewhere=("pretrain.recipe", "pretrain.recipe_size"),  # whose views may stand for its own
    ),
    "pretrain": Stage(
        does="Learn an encoder from the images, without labels.",
        section="pretrain",
        # no label and no test image: those lie beside store/train and store/val, not in them
        inputs=(*_stored("framing.json", "train", "val"), "data/augmented/policy.json"),
        outputs=(
            "models/pretrain",
            *_reports("pretrain", "pictures", "warnings.json", "details.json", "metrics.json", "curves"),
        ),
        graphs=("pretext.onnx",),
    ),
    "export": Stage(
        does="Write the encoder as one ONNX file from pixels to embeddings, and prove it equal.",
        section="export",
        inputs=("data/augmented/policy.json", *_stored("originals.npz", "train", "val"), "models/pretrain"),
        outputs=("models/export", "reports/export/details.json", "reports/export/metrics.json"),
        graphs=("backbone.onnx", "backbone_core.onnx", "energy.onnx"),
    ),
    "curate": Stage(
        does="Say which images are doubled, odd or wrongly labelled, and which to label next.",
        section="curate",
        inputs=("data/ingested/store", "models/export"),
        outputs=(*_reports("curate", "images.csv", "details.json", "pictures", "metrics.json"),),
    ),
    "linear_eval": Stage(
        does="Measure the exported file: linear probe, neighbours, clusters, baselines.",
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
        does="Train with few labels, against encoders that were not pretrained.",
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
        does="Write one page of all that was found, with a map of the embeddings.",
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
        # it shows params.yaml
        elsewhere=("ingest", "augment", "pretrain", "export", "curate", "linear_eval", "finetune"),
    ),
    "bundle": Stage(
        does="Put all that ships into one folder, with a card and what proves it where it runs.",
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
"""Name -> stage, in the order in which they run."""
