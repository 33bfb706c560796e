"""The pipeline's stages: one thin command each, `ssl-pipeline <name>`, and the one table of what they are.

dvc.yaml says the same to DVC, and a test holds the two together; paths, tests and checks read this table.
"""

from dataclasses import dataclass

__all__ = ["STAGES", "Stage"]


@dataclass(frozen=True)
class Stage:
    """A stage: what it needs and what it leaves.

    Attributes:
        section: Its section of params.yaml; None for a stage without parameters.
        inputs: Products of earlier stages that it reads. Each stage also depends on the digest of its own code.
        outputs: What it writes; the first one is the folder of its product.
        graphs: ONNX files that a run with the shipped params.yaml leaves in that folder.
        elsewhere: Parameters of other sections that it reads as well.
    """

    section: str | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    graphs: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()


STAGES = {
    "inventory": Stage(
        section=None,
        inputs=(),
        outputs=("data/inventory.json", "data/code", "plugins.lock"),
    ),
    "ingest": Stage(
        section="ingest",
        inputs=("data/inventory.json",),
        outputs=("data/ingested", "reports/ingest/details.json"),
    ),
    "augment": Stage(
        section="augment",
        inputs=("data/ingested/store/train",),
        outputs=("data/augmented",),
        graphs=("augment_global.onnx", "augment_plain.onnx"),
        elsewhere=("pretrain.recipe", "pretrain.recipe_size"),  # whose views may stand for its own
    ),
    "pretrain": Stage(
        section="pretrain",
        # no label and no test image: those lie beside store/train, not in it
        inputs=("data/ingested/store/framing.json", "data/ingested/store/train", "data/augmented/policy.json"),
        outputs=(
            "models/pretrain",
            "reports/pretrain/pictures",
            "reports/pretrain/warnings.json",
            "reports/pretrain/details.json",
            "reports/pretrain/metrics.json",
            "reports/pretrain/curves",
        ),
        graphs=("pretext.onnx",),
    ),
    "export": Stage(
        section="export",
        inputs=(
            "data/augmented/policy.json",
            "data/ingested/store/originals.npz",
            "data/ingested/store/train",
            "data/ingested/store/val",
            "models/pretrain",
        ),
        outputs=("models/export", "reports/export/details.json", "reports/export/metrics.json"),
        graphs=("backbone.onnx", "energy.onnx"),
    ),
    "linear_eval": Stage(
        section="linear_eval",
        inputs=("data/augmented/policy.json", "data/ingested/store", "models/export", "models/pretrain"),
        outputs=(
            "models/linear_eval",
            "reports/linear_eval/clusters.csv",
            "reports/linear_eval/details.json",
            "reports/linear_eval/pictures",
            "reports/linear_eval/recalls.csv",
            "reports/linear_eval/metrics.json",
            "reports/linear_eval/confusion.csv",
        ),
        graphs=("linear_probe.onnx",),
    ),
    "finetune": Stage(
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
            "reports/finetune/details.json",
            "reports/finetune/pictures",
            "reports/finetune/label_budget.csv",
            "reports/finetune/verdict.txt",
            "reports/finetune/metrics.json",
        ),
        graphs=("classifier.onnx",),
    ),
}
"""Name -> stage, in the order in which they run."""
