"""Propose settings from the evidence, the machine and a time limit, each with a one-sentence reason.

Values that the user has set are not changed; the other settings are chosen to fit them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ssl_pipeline.config import Config
from ssl_pipeline.planning.advice import about_start, about_variants
from ssl_pipeline.planning.costs import Costs, Measure
from ssl_pipeline.planning.draft import Draft, Setting
from ssl_pipeline.planning.estimate import StageEstimate
from ssl_pipeline.planning.evidence import Evidence, Labelling
from ssl_pipeline.planning.framing import frame
from ssl_pipeline.planning.machine import Machine, Speed, trial
from ssl_pipeline.planning.planner import Planner, Shelf
from ssl_pipeline.planning.starts import Given, forget_start
from ssl_pipeline.registry import Registry

__all__ = ["Proposal", "estimate_all", "propose"]

COVERED = 0.9
"""Share of images with captions from which images and texts are learned together; images without one are left out."""


@dataclass(frozen=True)
class Proposal:
    """Proposed settings, with their estimated costs.

    Attributes:
        settings: Settings in the order in which they depend on each other, including those for which the user has set
            another value.
        content: Content of params.yaml with the settings, except those that the user has set.
        config: Validated content.
        speed: Speed of these settings that a trial has measured.
        pool: Number of images to pretrain on.
        estimates: Estimated time and memory of each stage.
        hours: Time limit for all stages together, in hours.
        advice: Sentences on what no setting makes up for, such as too few images.
    """

    settings: tuple[Setting, ...]
    content: Mapping[str, Any]
    config: Config
    speed: Speed
    pool: int
    estimates: tuple[StageEstimate, ...]
    hours: float
    advice: tuple[str, ...] = ()

    @property
    def minutes(self) -> float:
        """Estimated time of all stages together, in minutes."""
        return sum(stage.minutes for stage in self.estimates)


def propose(
    registry: Registry,
    shelf: Shelf,
    evidence: Evidence,
    machine: Machine,
    hours: float,
    content: Mapping[str, Any],
    left: Collection[str] = (),
    measure: Measure = trial,
    given: Given | None = None,
) -> Proposal:
    """Propose settings.

    Args:
        registry: Registry of plugins.
        shelf: Recipes, networks and optimizer to choose from.
        evidence: Fingerprint of the images.
        machine: Hardware to compute with.
        hours: Time limit for all stages together, in hours.
        content: Content of params.yaml.
        left: Keys whose values the user has set, which are not changed.
        measure: Function that measures how fast parameters train.
        given: Weights to start from or to learn from; None if there are none.

    Raises:
        ConfigError: The content is invalid, or values that the user has set are incompatible.
    """
    draft = Draft(content, left)
    planner = Planner(shelf, 3600 * hours, registry, evidence, machine, draft, measure, given)
    planner.config()  # report mistakes before measuring anything
    forget_start(draft)
    frame(draft, evidence)
    if given and given.teacher is not None:
        draft.put("pretrain.recipe", shelf.distilling_recipe, "A small network learns from the pretrained weights.")
        draft.set("pretrain.pretext_task", {"teacher": given.teacher})
    else:
        draft.put("pretrain.recipe", *_recipe(registry, shelf, evidence.labelling))
    draft.put("pretrain.recipe_size", "small", "The papers' sizes are for large runs.")
    planner.put_views()
    speed = planner.put_network()
    planner.put_finetuning(speed)
    planner.put_schedule(speed)
    words = {"bf16": "bf16, which this hardware supports", "fp16": "fp16, as there is no bf16", "fp32": "fp32"}
    draft.put("pretrain.precision", "auto", f"On this machine, that is {words[machine.precision]}.")
    work, stages = planner.estimates(speed)
    config = planner.config()
    advice = [*(about_start(work.pool) if given is None else []), *about_variants(config, evidence)]
    settings = tuple(draft.settings.values())
    return Proposal(settings, draft.content, config, speed, work.pool, tuple(stages), hours, tuple(advice))


def _recipe(registry: Registry, shelf: Shelf, labels: Labelling) -> tuple[str, str]:
    """Return the recipe that suits the labels, clips and captions of the images, and the reason."""
    known = registry.names("recipe")
    if labels.clips and shelf.clips_recipe in known:
        return (
            shelf.clips_recipe,
            "The images are frames of clips: neighbouring frames serve as further views (docs/film.md).",
        )
    if labels.captioned >= COVERED * labels.images and labels.captions > 1 and shelf.captions_recipe in known:
        which = "All" if labels.captioned == labels.images else f"{labels.captioned / labels.images:.0%} of the"
        return shelf.captions_recipe, f"{which} images have captions, so both are learned together (docs/text.md)."
    return shelf.recipe, "This recipe is among the best with few images and steps (docs/recipes.md)."


def estimate_all(
    registry: Registry, config: Config, evidence: Evidence, machine: Machine, measure: Measure = trial
) -> list[StageEstimate]:
    """Estimate the time and memory of each stage with the current parameters.

    Args:
        registry: Registry of plugins.
        config: Parameters of the run.
        evidence: Fingerprint of the images.
        machine: Hardware to compute with.
        measure: Function that measures how fast parameters train.

    Raises:
        ConfigError: The parameters are incompatible.
    """
    costs = Costs(registry, evidence, machine, Draft(config.model_dump(mode="json"), ()), measure)
    return costs.estimates(costs.speed())[1]
