"""Where products lie, relative to the folder of params.yaml. dvc.yaml names the same paths."""

from pathlib import Path

from ssl_pipeline.workspace import workspace

INVENTORY = Path("data/inventory.json")
AUGMENTED = Path("data/augmented")
STORE = AUGMENTED / "store"
PRETRAIN = Path("models/pretrain")
EXPORT = Path("models/export")
LINEAR_EVAL = Path("models/linear_eval")
FINETUNE = Path("models/finetune")
REPORTS = Path("reports")
LOCK_FOLDER = Path(".work")
PLUGINS_LOCK = Path("plugins.lock")


def work() -> Path:
    """The folder of checkpoints and hashes: the workspace's own also in a copy made by DVC, which does not last."""
    return workspace() / ".work"


def hashes() -> Path:
    """Where hashes of the source's files are remembered."""
    return work() / "hashes.sqlite"


def products() -> list[Path]:
    """The folders in which products lie, and so the temporary files of stages that were killed."""
    return [AUGMENTED.parent, PRETRAIN.parent, REPORTS, *(path for path in REPORTS.glob("*") if path.is_dir())]
