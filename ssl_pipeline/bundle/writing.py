"""Writing models/bundle: the files that ship, with their description and their proof.

It holds neither a time nor the name of the machine: on one machine, with the same versions, equal inputs give equal
bytes.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl_pipeline.bundle import verify
from ssl_pipeline.bundle.golden import Golden, golden_of
from ssl_pipeline.bundle.lineage import check_lineage
from ssl_pipeline.bundle.model_card import Told, model_card
from ssl_pipeline.bundle.triton import write_triton
from ssl_pipeline.deployment.runtime import TEXT, open_session, read_metadata
from ssl_pipeline.embeddings import drift
from ssl_pipeline.products import DIGESTS, atomic_folder, read_json, sha256, verified, write_json
from ssl_pipeline.tokenizer import TOKENIZER

__all__ = ["Shipped", "seal", "write_bundle"]

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Shipped:
    """Locations of the files that ship.

    Attributes:
        export: Folder of the backbone and its variants, each listed with its digest.
        probe: Path of the linear probe on the backbone; the file may be absent.
        classifier: Path of the fine-tuned classifier; the file may be absent.
    """

    export: Path
    probe: Path
    classifier: Path


def write_bundle(
    folder: Path, shipped: Shipped, told: Told, reference: drift.Reference | None = None, *, triton: bool = False
) -> list[str]:
    """Write the bundle, whole or not at all.

    Args:
        folder: Folder to create or to replace.
        shipped: Locations of the files that go into the bundle.
        told: Results that the stages have written.
        reference: Reference that new images are compared with, None if there is none.
        triton: Whether to write a Triton configuration for each graph, too.

    Returns:
        The names of the files in the bundle.

    Raises:
        PipelineError: A file is missing or damaged, or the files are products of different runs.
    """
    graphs = _graphs(shipped)
    check_lineage(graphs, told)
    with atomic_folder(folder) as new:
        for name, path in graphs.items():
            shutil.copyfile(path, new / name)
        if TEXT in graphs:
            shutil.copyfile(verified(shipped.export / TOKENIZER, "export"), new / TOKENIZER)
            shutil.copyfile(TEMPLATES / "example_text.py", new / "example_text.py")
        exact = golden_of(new / "backbone.onnx")
        golden = {name: exact if name == "backbone.onnx" else golden_of(new / name, exact) for name in graphs}
        _write_golden(new, golden)
        _write_card(new, golden, shipped, told, triton)
        for name in graphs if triton else ():
            write_triton(new / "triton", new / name)
        if reference is not None:
            reference.write(new / drift.NAME)
        shutil.copyfile(verify.__file__, new / "verify.py")
        shutil.copyfile(TEMPLATES / "example.py", new / "example.py")
        names = seal(new)
        verify.verify(new, say=lambda _: None)
        return names


def _graphs(shipped: Shipped) -> dict[str, Path]:
    """Return name -> path of the graphs that ship, the backbone first."""
    listed = read_json(shipped.export / DIGESTS, "export")
    forms = sorted((name for name in listed if name.startswith("backbone") and name.endswith(".onnx")), key=len)
    found = {name: verified(shipped.export / name, "export") for name in forms}
    if TEXT in listed:
        found[TEXT] = verified(shipped.export / TEXT, "export")
    for path, stage in ((shipped.probe, "linear_eval"), (shipped.classifier, "finetune")):
        if path.exists():
            found[path.name] = verified(path, stage)
    return found


def _write_card(folder: Path, golden: Mapping[str, Golden], shipped: Shipped, told: Told, triton: bool) -> None:
    """Write the model card."""
    metadata = {name: read_metadata(open_session(folder / name)) for name in golden}
    files = [
        {
            "name": name,
            "size": (folder / name).stat().st_size,
            "precision": found.precision,
            "gives": metadata[name]["output"],
        }
        for name, found in golden.items()
    ]
    classes = json.loads(metadata.get(shipped.classifier.name, {}).get("classes", "[]"))
    why = shipped.classifier.with_name("no_classifier.json")
    reason = str(read_json(why, "finetune")["reason"]) if not classes and why.exists() else "there were no labels"
    text = model_card(told, metadata["backbone.onnx"], files, classes, reason, triton=triton)
    (folder / "model_card.md").write_text(text, encoding="utf-8", newline="\n")


def _write_golden(folder: Path, golden: Mapping[str, Golden]) -> None:
    """Write the golden inputs and outputs of each graph, and the tolerance for reproducing them."""
    contents = {name: found.contents() for name, found in golden.items()}
    write_json(folder / verify.CONTENTS, {"format": verify.FORMAT, "graphs": contents})
    arrays = {name: array for found in golden.values() for name, array in found.arrays.items()}
    np.savez_compressed(folder / verify.GOLDEN, **arrays)  # type: ignore[arg-type]  # its stub takes names for options


def seal(folder: Path) -> list[str]:
    """Write the digests of all files in a folder in the format of `sha256sum --check`; return their names."""
    (folder / verify.CHECKSUMS).unlink(missing_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests: Mapping[str, str] = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    lines = [f"{digest}  {name}\n" for name, digest in digests.items()]
    (folder / verify.CHECKSUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
    return [*digests, verify.CHECKSUMS]
