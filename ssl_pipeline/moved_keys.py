"""Keys of params.yaml that have another place than in an earlier version."""

from collections.abc import Collection
from typing import Any

__all__ = ["move_keys"]


def move_keys(content: dict[str, Any], moved: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Find keys of an earlier version that have another place now.

    Args:
        content: The content of params.yaml.
        moved: The keys that were in the section `augment`, and are in the section `ingest` now.

    Returns:
        The content with those keys in their places, only to look for further mistakes in it, and one line for each key.
    """
    augment, ingest = content.get("augment"), content.get("ingest", {})
    if not isinstance(augment, dict) or not isinstance(ingest, dict):
        return content, []
    found = {key: value for key, value in augment.items() if key in moved}
    lines = [f"augment.{key}: the store has a section of its own now: move it to ingest.{key}." for key in found]
    if found and "seed" in augment and "seed" not in ingest:
        found["seed"] = augment["seed"]
        lines.append(
            "augment.seed: is the seed of views alone now: give ingest.seed the same value to keep the splits."
        )
    if found and "pixels" not in found | ingest:
        found["pixels"] = "rgb8"
        lines.append("ingest.pixels: is new: write pixels: rgb8 for what all images became before.")
    left = {key: value for key, value in augment.items() if key not in moved}
    return content | {"augment": left, "ingest": found | ingest} if found else content, lines
