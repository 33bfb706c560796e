"""Costs of parameters while they are being planned: training speed, and the time of all stages."""

from collections.abc import Callable
from dataclasses import replace

from pydantic import ValidationError

from ssl_pipeline.artifacts.assembly import needed_views
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import Config
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.planning.draft import Draft
from ssl_pipeline.planning.estimate import StageEstimate, Workload, estimate, relative_time, workload_of
from ssl_pipeline.planning.evidence import Evidence
from ssl_pipeline.planning.machine import Machine, Speed
from ssl_pipeline.recipes import Method, method_of, resolve_views
from ssl_pipeline.registry import Registry
from ssl_pipeline.validation import explain

__all__ = ["Costs", "Measure"]

TRIAL_SECONDS = 1.0

Measure = Callable[..., Speed]
"""Function like `ssl_pipeline.planning.machine.trial`, or its substitute in tests."""


class Costs:
    """Measurements and estimates of the cost of a draft in its current state.

    Args:
        registry: Registry of plugins.
        evidence: Fingerprint of the images.
        machine: Hardware to compute with.
        draft: Parameters that are being planned.
        measure: Function that measures how fast parameters train.
    """

    def __init__(self, registry: Registry, evidence: Evidence, machine: Machine, draft: Draft, measure: Measure):
        self.registry, self.evidence, self.machine, self.draft = registry, evidence, machine, draft
        self.measure = measure

    def config(self) -> Config:
        """Return the draft as a validated configuration.

        Raises:
            ConfigError: The draft is invalid.
        """
        try:
            return Config.model_validate(self.draft.content)
        except ValidationError as error:
            raise ConfigError("\n".join(explain(error, Config))) from error

    def method(self) -> tuple[Method, dict[str, Policy]]:
        """Return the method of the draft, and its policies by kind of view."""
        config = self.config()
        method = method_of(self.registry, config.pretrain)
        return method, resolve_views(method, config.augment.views)

    def speed(self) -> Speed:
        """Measure how fast the draft trains."""
        method, views = self.method()
        canvas, spec = self.config().ingest.canvas, self.evidence.spec
        return self.measure(self.registry, method.recipe, method.pretrain, views, canvas, spec, TRIAL_SECONDS)

    def whole_run(self, speed: Speed) -> Speed:
        """Return the speed of a whole run, which may use smaller views, batches in parts, and several GPUs."""
        section = self.method()[0].pretrain
        cost = relative_time(section, section.batch_size, self.machine)
        return replace(speed, images_per_second=speed.images_per_second / cost)

    def work(self, speed: Speed) -> Workload:
        """Return the workload of the draft."""
        config, (method, policies) = self.config(), self.method()
        needed = needed_views(self.registry, method.recipe.pretext_task)
        size = policies[config.finetune.view if config.finetune.view in policies else needed.main].size
        return workload_of(config, self.evidence, sum(needed.counts.values()), size, speed)

    def estimates(self, speed: Speed) -> tuple[Workload, list[StageEstimate]]:
        """Return the workload of the draft, and estimates of all its stages."""
        method, _ = self.method()
        work = self.work(speed)
        section = method.pretrain
        return work, estimate(self.config(), section.epochs, section.batch_size, work, self.machine)
