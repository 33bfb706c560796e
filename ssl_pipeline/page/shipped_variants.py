"""The part of the page on variants of the backbone: which of them ship, and why the others do not."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ssl_pipeline.evaluation.statistics.wording import gained
from ssl_pipeline.page.facts import Picture, Places, details, pictures

__all__ = ["ShippedVariants", "read_variants"]

_ALT = {"variants": "Accuracy of nearest neighbours over the time per image; the table of variants has the numbers."}


class ShippedVariants(NamedTuple):
    """The variants of backbone.onnx.

    Attributes:
        rows: Table rows, one per file: name, size as a share of backbone.onnx, share of nearest neighbours kept, time
            as a share of torch's for 1 image and for 32 images, and difference in accuracy.
        recommended: Variant that linear_eval recommends; "" if it has not run.
        refused: Variants that do not ship, each with the reasons.
        picture: Plot of accuracy over latency; None without labels.
    """

    rows: list[tuple[str, ...]]
    recommended: str
    refused: list[tuple[str, list[str]]]
    picture: Picture | None


def read_variants(places: Places) -> ShippedVariants | None:
    """Read which variants ship; return None if no variant was requested."""
    gate = details(places, "export", lambda found: found.get("variants", {}))
    if not gate:
        return None
    judged = details(places, "linear_eval", lambda found: found.get("variants", {})) or {}
    files, sizes = judged.get("files", {}), {name: found for name, found in gate.items() if found["ships"]}
    rows = [("fp32", *_cells({}, files.get("fp32", {})))]
    rows += [(name, *_cells(found, files.get(name, {}))) for name, found in sizes.items()]
    refused = [(name, [str(line) for line in found["broken"]]) for name, found in gate.items() if not found["ships"]]
    picture = pictures(places.reports / "linear_eval" / "pictures", "linear_eval", _ALT).get("variants")
    return ShippedVariants(rows, str(judged.get("recommended", "")), refused, picture)


def _cells(gate: Mapping[str, Any], judged: Mapping[str, Any]) -> tuple[str, ...]:
    """Return size, recall, two times and a difference as text; a cell is empty if its value is unknown or trivial."""
    figures, gap = gate.get("gate"), judged.get("difference", {}).get("knn")
    times = [judged["latency"][size]["of_torch"] if judged else None for size in ("1", "32")]
    cells = [f"{figures['size']:.2f}", f"{figures['recall']:.1%}"] if figures else ["1", ""]
    cells += ["" if time is None else f"{time:.2f}" for time in times]
    return (*cells, gained(gap) if gap else "")
