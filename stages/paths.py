"""Where products lie, relative to the folder of params.yaml. dvc.yaml names the same paths."""

from pathlib import Path

AUGMENTED = Path("data/augmented")
STORE = AUGMENTED / "store"
PRETRAIN = Path("models/pretrain")
EXPORT = Path("models/export")
LINEAR_EVAL = Path("models/linear_eval")
FINETUNE = Path("models/finetune")
REPORTS = Path("reports")
WORK = Path(".work")
PLUGINS_LOCK = Path("plugins.lock")
