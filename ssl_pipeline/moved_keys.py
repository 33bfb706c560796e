"""Keys and names of params.yaml that are new, or have another place or form than in an earlier version or elsewhere."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown

__all__ = ["WARMUP_EPOCHS", "move_keys", "refuse_former", "rename_keys"]

WARMUP_EPOCHS = "warmup_epochs"
"""What was the number of epochs, where `warmup` is the share of the steps."""

NEW: dict[str, tuple[Any, str]] = {
    "micro_batch": (None, "null for batches in one pass"),
    "resolution": ([[0, 1.0]], "[[0, 1.0]] for views of full size"),
    "devices": (1, "1 for one process"),
}
"""Keys of `pretrain` that an earlier version did not have: what stands for its behaviour, and how that is written."""

ACCUMULATION = "accum"
"""What the names have in common that other programs give to the number of small batches whose gradients are added up,
such as `accumulate`, `grad_accum_steps` and `gradient_accumulation_steps`."""


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
        lines.append("ingest.pixels: is a new key: write pixels: rgb8 for what all images became before.")
    left = {key: value for key, value in augment.items() if key not in moved}
    return content | {"augment": left, "ingest": found | ingest} if found else content, lines


def rename_keys(content: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Find keys that have another name and unit now, those that an earlier version did not have, and accumulation.

    Args:
        content: The content of params.yaml.

    Returns:
        The content with the new keys in their places, only to look for further mistakes in it, and one line for each.
    """
    pretrain = content.get("pretrain")
    if not isinstance(pretrain, dict):
        return content, []
    lines, accumulating = [], [key for key in pretrain if ACCUMULATION in str(key).lower()]
    for key in accumulating:
        lines.append(
            f"pretrain.{shown(str(key), 60)}: gradients of small batches are not added up: an image would meet no more "
            "negatives than its small batch holds. Write the size of the whole batch as batch_size, and the number of "
            "images that fit into memory as micro_batch: its gradient is that of the whole batch."
        )
    content = content | {"pretrain": (pretrain := {key: pretrain[key] for key in pretrain if key not in accumulating})}
    for key, (value, meaning) in NEW.items():
        if key not in pretrain:
            lines.append(f"pretrain.{key}: is a new key: write {key}: {meaning}, as before.")
            content = content | {"pretrain": (pretrain := {key: value} | pretrain)}
    if WARMUP_EPOCHS not in pretrain:
        return content, lines
    left = {key: value for key, value in pretrain.items() if key != WARMUP_EPOCHS}
    share = _share(pretrain[WARMUP_EPOCHS], pretrain.get("epochs"))
    meant = f"warmup: {share}" if share is not None else "warmup, the share of the steps in [0, 1),"
    line = f"pretrain.{WARMUP_EPOCHS}: is a share of the run now: write {meant} in its place."
    return content | {"pretrain": {"warmup": share or 0.0} | left}, [*lines, line]


def refuse_former(factories: Iterable[Callable[..., Any]], words: Collection[str], key: str) -> None:
    """Answer names or options that a plugin had in an earlier version by what its author says to write now.

    Args:
        factories: The factories of plugins, of which some have an attribute `formerly`.
        words: The names or options that params.yaml holds, and that are not known.
        key: The place of these in params.yaml, for the message.

    Raises:
        ConfigError: A factory says of one of the words what to write now.
    """
    for factory in factories:
        former = getattr(getattr(factory, "func", factory), "formerly", {})  # of a partial it is its class that has it
        for word in sorted(former.keys() & words):
            raise ConfigError(f"{key}: '{word}' belongs to an earlier version: {former[word]}.")


def _share(warmup: Any, epochs: Any) -> Any:
    """Return what number of epochs is what share of them; None where that cannot be said."""
    if warmup == "recipe":
        return warmup
    numbers = [value for value in (warmup, epochs) if isinstance(value, int | float) and not isinstance(value, bool)]
    return round(warmup / epochs, 4) if len(numbers) == 2 and 0 <= warmup < epochs else None
