"""The identity of a pretraining run: everything that its weights depend on."""

from collections.abc import Mapping
from typing import Any

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.data.store import Split
from ssl_pipeline.products import digest
from ssl_pipeline.provenance.given_weights import given_digest
from ssl_pipeline.provenance.teachers import teacher_digests
from ssl_pipeline.resolution import is_full_size
from ssl_pipeline.types import PretextTask

__all__ = ["fingerprint", "given_teacher", "shaping"]


def fingerprint(
    config: PretrainConfig,
    task: PretextTask,
    policies: Mapping[str, Policy],
    pool: Split,
    code: Mapping[str, str],
    held_out: Split | None = None,
) -> str:
    """Return the digest of everything that a run depends on, except its environment; a checkpoint belongs to it.

    Args:
        config: Parameters of pretraining. The frequency of checkpoints and the reasons to end a run are ignored.
        task: Pretext task, which names the kinds of views that it uses.
        policies: Kind of view -> policy.
        pool: Training images.
        code: Modules and plugins that take part -> digest; see `provenance.plugins.code`.
        held_out: Images that the run is watched on, None if it is not watched.
    """
    return digest(
        {
            "parameters": shaping(config),
            "initial": given_digest(config.init),
            "policies": {kind: policies[kind].model_dump(mode="json") for kind in task.views.counts},
            "pool": pool.sha256,
            "code": code,
            **given_teacher(config),
        }
        | ({} if held_out is None else {"held_out": held_out.sha256})
    )


def given_teacher(config: PretrainConfig) -> dict[str, dict[str, str]]:
    """Return an entry with the digests of the teacher's files, or no entry if params.yaml names no teacher."""
    found = teacher_digests(config.pretext_task)
    return {"teacher": found} if found else {}


def shaping(config: PretrainConfig, *but: str) -> dict[str, Any]:
    """Return the parameters that the weights depend on, except those in `but`."""
    shapes_nothing = {"checkpoint_minutes", "devices", "on_collapse", "collapse", "init_licence", *but}
    if config.micro_batch is None or config.micro_batch >= config.batch_size:  # one pass, as in earlier versions
        shapes_nothing.add("micro_batch")
    if config.positives is None:  # views of one image, as in earlier versions
        shapes_nothing.add("positives")
    if is_full_size(config.resolution):  # full size throughout, as in cards of earlier versions
        shapes_nothing.add("resolution")
    return config.model_dump(mode="json", exclude=shapes_nothing)
