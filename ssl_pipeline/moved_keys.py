"""Keys of params.yaml that have another place than in an earlier version."""

from collections.abc import Collection
from typing import Any

__all__ = ["moved_keys"]


def moved_keys(content: dict[str, Any], moved: Collection[str]) -> list[str]:
    """One line for each key of an earlier version that has another place now; its value is never used.

    Args:
        content: The content of params.yaml.
        moved: The keys that were in the section `augment`, and are in the section `ingest` now.
    """
    sections = {name: content[name] for name in ("augment", "ingest") if isinstance(content.get(name), dict)}
    lines = [
        f"augment.{key}: the store has a section of its own now: move it to ingest.{key}."
        for key in sections.get("augment", ())
        if key in moved
    ]
    if lines and "seed" not in sections.get("ingest", ()):
        lines.append(
            "augment.seed: is the seed of views alone now: give ingest.seed the same value to keep the splits."
        )
    return lines
