"""Keys and names of params.yaml that are new, or that moved or changed since an earlier version."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown

__all__ = ["WARMUP_EPOCHS", "move_keys", "refuse_former", "rename_keys"]

WARMUP_EPOCHS = "warmup_epochs"
"""Former key for the warm-up in epochs; its successor `warmup` is a share of the steps."""

NEW: dict[str, tuple[Any, str]] = {
    "micro_batch": (None, "null for batches in one pass"),
    "resolution": ([[0, 1.0]], "[[0, 1.0]] for views of full size"),
    "devices": (1, "1 for one process"),
}
"""Keys of `pretrain` that an earlier version did not have -> value with the former behaviour, and its description."""

ACCUMULATION = "accum"
"""Common part of the keys by which other programs set gradient accumulation, such as `accumulate`, `grad_accum_steps`
and `gradient_accumulation_steps`."""


def move_keys(content: dict[str, Any], moved: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Find keys of an earlier version that have moved.

    Args:
        content: Content of params.yaml.
        moved: Keys that moved from the section `augment` to the section `ingest`.

    Returns:
        Content with the keys moved, which serves only to find further mistakes, and one message per moved key.
    """
    augment, ingest = content.get("augment"), content.get("ingest", {})
    if not isinstance(augment, dict) or not isinstance(ingest, dict):
        return content, []
    found = {key: value for key, value in augment.items() if key in moved}
    lines = [f"augment.{key}: has moved to the section of the store. Move it to ingest.{key}." for key in found]
    if found and "seed" in augment and "seed" not in ingest:
        found["seed"] = augment["seed"]
        lines.append(
            "augment.seed: is now the seed of the views only. Set ingest.seed to the same value to keep the splits."
        )
    if found and "pixels" not in found | ingest:
        found["pixels"] = "rgb8"
        lines.append("ingest.pixels: is a new key. Add pixels: rgb8 to convert all images to 8-bit RGB, as before.")
    left = {key: value for key, value in augment.items() if key not in moved}
    return content | {"augment": left, "ingest": found | ingest} if found else content, lines


def rename_keys(content: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Find keys whose name and unit have changed, keys that an earlier version lacks, and gradient accumulation.

    Args:
        content: Content of params.yaml.

    Returns:
        Content with the new keys, which serves only to find further mistakes, and one message per mistake.
    """
    pretrain = content.get("pretrain")
    if not isinstance(pretrain, dict):
        return content, []
    lines, accumulating = [], [key for key in pretrain if ACCUMULATION in str(key).lower()]
    for key in accumulating:
        lines.append(
            f"pretrain.{shown(str(key), 60)}: gradient accumulation is not supported, because an image would meet no "
            "more negatives than its small batch holds. Set batch_size to the size of the whole batch and micro_batch "
            "to the number of images that fit into memory; the gradient is that of the whole batch."
        )
    content = content | {"pretrain": (pretrain := {key: pretrain[key] for key in pretrain if key not in accumulating})}
    for key, (value, meaning) in NEW.items():
        if key not in pretrain:
            lines.append(f"pretrain.{key}: is a new key. Add {key}: {meaning}, as before.")
            content = content | {"pretrain": (pretrain := {key: value} | pretrain)}
    if WARMUP_EPOCHS not in pretrain:
        return content, lines
    left = {key: value for key, value in pretrain.items() if key != WARMUP_EPOCHS}
    share = _share(pretrain[WARMUP_EPOCHS], pretrain.get("epochs"))
    meant = f"warmup: {share}" if share is not None else "warmup, a share of the steps in [0, 1)"
    line = f"pretrain.{WARMUP_EPOCHS}: is now a share of the run. Replace it by {meant}."
    return content | {"pretrain": {"warmup": share or 0.0} | left}, [*lines, line]


def refuse_former(factories: Iterable[Callable[..., Any]], words: Collection[str], key: str) -> None:
    """Refuse names or options of an earlier version of a plugin, with the replacement that its author states.

    Args:
        factories: Factories of plugins, some of which have an attribute `formerly`.
        words: Unknown names or options in params.yaml.
        key: Key of these words in params.yaml, for the message.

    Raises:
        ConfigError: A factory states a replacement for one of the words.
    """
    for factory in factories:
        former = getattr(getattr(factory, "func", factory), "formerly", {})  # a partial has it at its function
        for word in sorted(former.keys() & words):
            raise ConfigError(f"{key}: '{word}' belongs to an earlier version: {former[word]}.")


def _share(warmup: Any, epochs: Any) -> Any:
    """Return the warm-up as a share of the epochs; None if it cannot be computed."""
    if warmup == "recipe":
        return warmup
    numbers = [value for value in (warmup, epochs) if isinstance(value, int | float) and not isinstance(value, bool)]
    return round(warmup / epochs, 4) if len(numbers) == 2 and 0 <= warmup < epochs else None
