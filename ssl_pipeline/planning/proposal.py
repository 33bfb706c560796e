"""From the evidence, the machine and a number of hours to settings, each with one sentence of reason.

What a person has set counts as given: the other settings are chosen to fit it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ssl_pipeline.config import Config
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
"""Share of images with captions from which on images and texts are learned together: the others would be left out."""


@dataclass(frozen=True)
class Proposal:
    """What is proposed.

    Attributes:
        settings: The settings in the order in which they depend on each other, also those that a person has set
            otherwise.
        content: The content of params.yaml with all settings but the latter.
        config: The same, checked.
        speed: What a trial of these settings has measured.
        pool: Number of images to pretrain on.
        estimates: What each stage will take.
        hours: The time that all stages together may take.
    """

    settings: tuple[Setting, ...]
    content: Mapping[str, Any]
    config: Config
    speed: Speed
    pool: int
    estimates: tuple[StageEstimate, ...]
    hours: float

    @property
    def minutes(self) -> float:
        """What all stages will take."""
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
        registry: The registry.
        shelf: What can be chosen by name.
        evidence: The fingerprint of the images.
        machine: What there is to compute with.
        hours: Time that all stages together may take.
        content: The content of params.yaml.
        left: Keys whose values a person has set, and which stay.
        measure: Function that tries how fast some parameters train.
        given: Weights to start from, or to learn from; None: there are none.

    Raises:
        ConfigError: The content is not valid, or what a person has set does not go together.
    """
    draft = Draft(content, left)
    planner = Planner(shelf, 3600 * hours, registry, evidence, machine, draft, measure, given)
    planner.config()  # mistakes are told before anything is measured
    forget_start(draft)
    frame(draft, evidence)
    if given and given.teacher is not None:
        draft.put("pretrain.recipe", shelf.distilling_recipe, "A small network learns from the weights that are given.")
        draft.set("pretrain.pretext_task", {"teacher": given.teacher})
    else:
        draft.put("pretrain.recipe", *_recipe(registry, shelf, evidence.labelling))
    draft.put("pretrain.recipe_size", "small", "The papers' sizes are for large runs.")
    planner.put_views()
    speed = planner.put_network()
    planner.put_finetuning(speed)
    planner.put_schedule(speed)
    words = {"bf16": "bf16, in which this hardware computes", "fp16": "fp16, as there is no bf16", "fp32": "fp32"}
    draft.put("pretrain.precision", "auto", f"Here that is {words[machine.precision]}.")
    work, stages = planner.estimates(speed)
    return Proposal(
        tuple(draft.settings.values()), draft.content, planner.config(), speed, work.pool, tuple(stages), hours
    )


def _recipe(registry: Registry, shelf: Shelf, labels: Labelling) -> tuple[str, str]:
    """Return the recipe for what the source says of the images, and why."""
    known = registry.names("recipe")
    if labels.clips and shelf.clips_recipe in known:
        return (
            shelf.clips_recipe,
            "The images are frames of clips: their neighbours in time are further views (docs/film.md).",
        )
    if labels.captioned >= COVERED * labels.images and labels.captions > 1 and shelf.captions_recipe in known:
        which = "All" if labels.captioned == labels.images else f"{labels.captioned / labels.images:.0%} of the"
        return shelf.captions_recipe, f"{which} images have captions: they are learned together (docs/text.md)."
    return shelf.recipe, "It is among the best with few images and steps (docs/recipes.md)."


def estimate_all(
    registry: Registry, config: Config, evidence: Evidence, machine: Machine, measure: Measure = trial
) -> list[StageEstimate]:
    """Estimate what each stage takes with parameters as they are.

    Args:
        registry: The registry.
        config: The parameters.
        evidence: The fingerprint of the images.
        machine: What there is to compute with.
        measure: Function that tries how fast some parameters train.

    Raises:
        ConfigError: The parameters do not go together.
    """
    costs = Costs(registry, evidence, machine, Draft(config.model_dump(mode="json"), ()), measure)
    return costs.estimates(costs.speed())[1]
