"""Paths of products, relative to the folder of params.yaml. Their names come from the table of stages."""

from pathlib import Path

from ssl_pipeline.workspace import workspace
from ssl_pipeline_stages import STAGES

INVENTORY, CODE, PLUGINS_LOCK = map(Path, STAGES["inventory"].outputs)
INGESTED, AUGMENTED, PRETRAIN, EXPORT, LINEAR_EVAL, FINETUNE = (
    Path(STAGES[name].outputs[0]) for name in ("ingest", "augment", "pretrain", "export", "linear_eval", "finetune")
)
PAGE, BUNDLE = (Path(STAGES[name].outputs[0]) for name in ("report", "bundle"))
STORE = INGESTED / "store"
REPORTS = Path("reports")
LOCK_FOLDER = Path(".work")


def work() -> Path:
    """Return the folder of checkpoints and hashes, in the workspace itself even in a temporary copy made by DVC."""
    return workspace() / ".work"


def hashes() -> Path:
    """Return the path of the cached hashes of the source's files."""
    return work() / "hashes.sqlite"


def products() -> list[Path]:
    """Return the folders that contain products, and therefore the temporary files of stages that were killed."""
    return [CODE, INGESTED.parent, PRETRAIN.parent, REPORTS, *(path for path in REPORTS.glob("*") if path.is_dir())]
