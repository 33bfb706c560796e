"""models/bundle: the files that ship, with what tells of them and what proves them.

Nothing of the machine is in it, and no time: the same files make the same bytes.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ssl_pipeline.products import DIGESTS, atomic_folder, read_json, sha256, verified

__all__ = ["CHECKSUMS", "Shipped", "write_bundle"]

CHECKSUMS = "checksums.txt"


@dataclass(frozen=True)
class Shipped:
    """Where the files lie that ship.

    Attributes:
        export: The folder of the backbone in all its forms; each is listed with its digest.
        probe: A linear probe on the backbone; there may be none.
        classifier: A fine-tuned classifier; there may be none.
    """

    export: Path
    probe: Path
    classifier: Path


def write_bundle(folder: Path, shipped: Shipped) -> list[str]:
    """Write the bundle, whole or not at all.

    Args:
        folder: The folder to write, or to replace.
        shipped: The files that go into it.

    Returns:
        The names of its files.

    Raises:
        PipelineError: A file is missing or damaged.
    """
    graphs = _graphs(shipped)
    with atomic_folder(folder) as new:
        for name, path in graphs.items():
            shutil.copyfile(path, new / name)
        return _seal(new)


def _graphs(shipped: Shipped) -> dict[str, Path]:
    """Return the graphs that ship by their names, the backbone first."""
    listed = read_json(shipped.export / DIGESTS, "export")
    forms = sorted((name for name in listed if name.startswith("backbone") and name.endswith(".onnx")), key=len)
    found = {name: verified(shipped.export / name, "export") for name in forms}
    for path, stage in ((shipped.probe, "linear_eval"), (shipped.classifier, "finetune")):
        if path.exists():
            found[path.name] = verified(path, stage)
    return found


def _seal(folder: Path) -> list[str]:
    """Write the digests of all files of a folder in the form that `sha256sum --check` reads; return their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests: Mapping[str, str] = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    lines = [f"{digest}  {name}\n" for name, digest in digests.items()]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
    return [*digests, CHECKSUMS]
