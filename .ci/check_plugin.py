"""Check a third-party plugin in a finished project: install it, test it, train with it, and remove it again."""

import subprocess
import sys
from pathlib import Path

import yaml

root = Path(sys.argv[1])
plugin = root / "examples" / "plugin"
LOSS = {"name": "example_plugin_circle", "margin": 0.4}
NEGATIVES = {"name": "example_plugin_curriculum", "start": 0.5}
BACKBONE = {"name": "example_plugin_mixer", "width": 16, "depth": 2}
OPTIMIZER = {"name": "example_plugin_lion", "learning_rate": 3e-4, "weight_decay": 1e-3}
GONE = "came with example-plugin 0.1.0: pip install it again"


def python(*words: object, folder: Path = root) -> None:
    subprocess.run([root / ".venv/bin/python", *map(str, words)], cwd=folder, check=True)


def main() -> None:
    python("-m", "pip", "install", "--quiet", "--constraint", root / "constraints.txt", f"{plugin}[test]")
    python("-m", "pytest", "-q", folder=plugin)

    content = yaml.safe_load((root / "params.yaml").read_text())
    content["pretrain"].update(loss=LOSS, negatives=NEGATIVES, backbone=BACKBONE, optimizer=OPTIMIZER, epochs=5)
    (root / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    subprocess.run(["make", "-C", root, "repro"], check=True)
    assert '"example-plugin": "0.1.0"' in (root / "models/pretrain/model.json").read_text()
    assert "example_plugin_circle" in (root / "models/pretrain/model.json").read_text()

    python("-m", "pip", "uninstall", "--quiet", "--yes", "example-plugin")
    for words in (["make", "-C", root, "repro"], [root / ".venv/bin/python", "-m", "ssl_pipeline", "pretrain"]):
        gone = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
        assert gone.returncode == 2, gone
        assert GONE in gone.stderr, gone.stderr
        assert "Traceback" not in gone.stderr, gone.stderr
    print("a plugin was installed, tested and trained with; after its removal, an error named it")


main()
