"""Write the classifier as classifier.onnx, or the reason why there is none."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ssl_pipeline.data.store import Original
from ssl_pipeline.deployment.classifier_graph import opset_of, write_classifier
from ssl_pipeline.deployment.parity import verify
from ssl_pipeline.deployment.runtime import open_session, read_metadata
from ssl_pipeline.evaluation.budgets.study import Tuned
from ssl_pipeline.products import record, sha256, write_json

__all__ = ["write_obstacle", "write_tuned"]


def write_tuned(
    models: Path,
    tuned: Tuned,
    *,
    backbone: Path,
    originals: Sequence[Original],
    rebuild: Callable[[Path], Sequence[str]],
) -> None:
    """Write classifier.onnx and verify that it computes the same as the trained classifier.

    Args:
        models: Folder to write to.
        tuned: Trained classifier.
        backbone: Path of backbone.onnx, whose operator set the classifier's graph uses.
        originals: Images in their original shapes, for the verification.
        rebuild: Folder -> command that rebuilds the folder's model in a new process; see `parity.verify`.

    Raises:
        PipelineError: The graph differs from the trained classifier by more than the bounds allow.
    """
    model, card, classes, budget = tuned
    model.cpu()
    path = write_classifier(
        models,
        model.encoder,
        model.head,
        card,
        classes,
        opset=opset_of(backbone),
        metadata={"labels_per_class": str(budget), **_origin(backbone)},
    )
    verify(path, [original.image for original in originals], rebuild(models))
    record(path)


def _origin(backbone: Path) -> dict[str, str]:
    """Return metadata on the classifier's origin: the backbone's digest, and the data and licence that it declares."""
    said = read_metadata(open_session(backbone))
    inherited: dict[str, str] = {name: said[name] for name in ("data_sha256", "licence") if name in said}
    return {**inherited, "backbone_sha256": sha256(backbone)}


def write_obstacle(models: Path, reason: str) -> None:
    """Write no_classifier.json, which gives the reason why there is no classifier."""
    write_json(models / "no_classifier.json", {"classifier": None, "reason": reason})
