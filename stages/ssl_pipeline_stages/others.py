"""Third-party encoders that params.yaml names, whose code and files DVC does not see; not a stage."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from ssl_pipeline.config import Config
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.provenance.cards import card_digests
from ssl_pipeline.provenance.given_weights import given_digest
from ssl_pipeline.provenance.plugins import Used, used_plugin
from ssl_pipeline.provenance.teachers import TEACHER_KEY, named_teachers, teacher_digests
from ssl_pipeline.terminal import shown
from ssl_pipeline.workspace import find_path

if TYPE_CHECKING:
    from ssl_pipeline.registry import Registry

__all__ = ["encoders", "files", "learned_from", "used_by"]


def files(config: Config) -> list[object]:
    """Return the digests of the files that determine which code is used: cards of rivals, a teacher and its card."""
    return [card_digests(config.linear_eval.rivals), teacher_digests(config.pretrain.pretext_task)]


def learned_from(config: Config) -> dict[str, str]:
    """Return the digests of third-party files on which pretrain depends: a teacher's, and those of initial weights."""
    given = given_digest(config.pretrain.init)
    return teacher_digests(config.pretrain.pretext_task) | ({"pretrain.init": given} if given else {})


def used_by(registry: "Registry", config: Config) -> dict[str, list[Used]]:
    """Return the backbones of rivals and of the teacher by the stage that uses them."""
    from ssl_pipeline.deployment.foreign_encoders import backbones
    from ssl_pipeline.evaluation.linear.rivals import RIVALS

    teachers = backbones(named_teachers(config.pretrain.pretext_task), registry, TEACHER_KEY)
    rivals = backbones(config.linear_eval.rivals, registry, RIVALS)
    named = {"pretrain": teachers, "linear_eval": rivals}
    return {stage: [used_plugin(entry) for entry in entries] for stage, entries in named.items()}


def encoders(config: Config, registry: "Registry") -> Iterator[Callable[[], object]]:
    """Yield one check for each third-party or further encoder that params.yaml names."""
    from ssl_pipeline.deployment.foreign_encoders import check_foreign
    from ssl_pipeline.evaluation.linear.rivals import RIVALS

    for rival in config.linear_eval.rivals:
        yield partial(check_foreign, rival, registry, RIVALS)
    for folder in config.finetune.encoders:
        yield partial(_check_encoder, folder)


def _check_encoder(folder: str) -> None:
    if not find_path(folder, "finetune.encoders").is_dir():
        raise ConfigError(
            f"finetune.encoders: '{shown(folder, 200)}' is not a directory. Name copies of the folder models/pretrain."
        )
