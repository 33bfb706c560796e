"""Plan settings one after another: later ones depend on earlier ones, and all of them on the user's settings."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssl_pipeline.artifacts.assembly import needed_views
from ssl_pipeline.planning.costs import Costs, Measure
from ssl_pipeline.planning.draft import Draft
from ssl_pipeline.planning.estimate import FIXED
from ssl_pipeline.planning.evidence import Evidence
from ssl_pipeline.planning.framing import SIDES, largest_side, put_canvas
from ssl_pipeline.planning.machine import Machine, Speed
from ssl_pipeline.planning.planned_views import PlannedViews, plan_views
from ssl_pipeline.planning.schedule import batch_size, epochs_within, learning_rate, micro_batch
from ssl_pipeline.planning.starts import ENOUGH_PASSES, MOST_EPOCHS, RATE, Given, put_start, way_of
from ssl_pipeline.recipes import Method
from ssl_pipeline.registry import Registry

__all__ = ["Planner", "Shelf"]

PASSES = 100
"""Number of times that a network should see each image; with fewer, a smaller network or smaller views are better."""
PRETRAINING = 0.6
"""Share of the time that is assumed for pretraining before the costs of the other stages are known."""
FINETUNING = 0.3
"""Share of the time that finetune may take."""
CHEAPER = ((5, 5), (3, 5), (2, 4), (1, 3), (1, 2))
"""Pairs of epochs and draws for finetune: the usual ones, followed by cheaper ones if these take too long."""


@dataclass(frozen=True)
class Shelf:
    """Recipes, networks and optimizer that a plan can choose.

    Attributes:
        recipe: Recipe that does well with few images and steps.
        clips_recipe: Recipe that learns from neighbouring frames in time.
        captions_recipe: Recipe that learns from images and their captions.
        distilling_recipe: Recipe by which a network learns from another one.
        networks: Backbones for small views, from small to large.
        photo_networks: Backbones for larger views, which they downsample early, from small to large.
        photo_side: Side of a view in px from which `photo_networks` are used.
        optimizer: Optimizer with its options, except the learning rate.
    """

    recipe: str
    clips_recipe: str
    captions_recipe: str
    distilling_recipe: str
    networks: Sequence[Mapping[str, Any]]
    photo_networks: Sequence[Mapping[str, Any]]
    photo_side: int
    optimizer: Mapping[str, Any]

    def for_side(self, side: int) -> Sequence[Mapping[str, Any]]:
        """Return the backbones for views of the given side in px."""
        return self.photo_networks if side >= self.photo_side else self.networks

    def middling(self, side: int) -> Mapping[str, Any]:
        """Return the medium backbone, which decides whether views may be larger: a small one would not benefit."""
        networks = self.for_side(side)
        return networks[(len(networks) - 1) // 2]


class Planner(Costs):
    """Planner that puts settings into a draft, one after another; later ones depend on earlier ones.

    Args:
        shelf: Recipes, networks and optimizer to choose from.
        seconds: Time limit for all stages together, in seconds.
        registry: Registry of plugins.
        evidence: Fingerprint of the images.
        machine: Hardware to compute with.
        draft: Parameters, into which settings are put.
        measure: Function that measures how fast parameters train.
        given: Weights that the user has named; None if there are none.
    """

    def __init__(
        self,
        shelf: Shelf,
        seconds: float,
        registry: Registry,
        evidence: Evidence,
        machine: Machine,
        draft: Draft,
        measure: Measure,
        given: Given | None = None,
    ):
        super().__init__(registry, evidence, machine, draft, measure)
        self.shelf, self.seconds, self.given = shelf, seconds, given
        self._network = None if given is None or given.teacher is not None else given.backbone
        self._enough = PASSES if self._network is None else ENOUGH_PASSES

    def passes(self, speed: Speed) -> float:
        """Return the number of passes over the images at a speed, in about the time for pretraining."""
        return PRETRAINING * self.seconds * self.whole_run(speed).images_per_second / self.work(speed).pool

    def put_views(self) -> None:
        """Propose views as large as the images and the time allow, and a canvas for them."""
        sizes = largest_side(self.evidence, self.machine)
        size = sizes.least
        if "augment.views" not in self.draft.left:
            size = self._largest_in_time([side for side in SIDES if sizes.least <= side <= sizes.most])
        reason = self._planned(size).reason
        self.draft.put("augment.views", self._views(size), f"{size} px; {reason}")
        method, views = self.method()
        put_canvas(self.draft, self.evidence, views[needed_views(self.registry, method.recipe.pretext_task).main].size)

    def _largest_in_time(self, sides: Sequence[int]) -> int:
        """Return the largest side at which the medium network sees each image often enough."""

        def passes(side: int) -> float:
            self.draft.set("augment.views", self._views(side))
            self.draft.set("pretrain.backbone", self._network or self.shelf.middling(side))
            return self.passes(self.speed())

        if len(sides) == 1:
            return sides[0]
        if self.machine.device == "cpu":  # time is proportional to pixels; try small views only
            least = passes(sides[0])
            return max((side for side in sides if least * (sides[0] / side) ** 2 >= self._enough), default=sides[0])
        return next((side for side in reversed(sides) if passes(side) >= self._enough), sides[0])

    def _planned(self, size: int) -> PlannedViews:
        described = self.method()[0].recipe.name == self.shelf.captions_recipe
        return plan_views(self.evidence, size, described)

    def _views(self, size: int) -> dict[str, Any]:
        """Return planned views without operations that the pretext task refuses, and with all kinds that it needs."""
        views = self._planned(size).views
        method, _ = self.method()
        task = method.recipe.pretext_task
        forbidden: frozenset[str] = getattr(
            self.registry.find("pretext_task", task.name).factory, "forbidden", frozenset()
        )
        kinds = {kind: {"global": views["global"]}.get(kind, views["plain"]) for kind in self._kinds(method)}
        return {
            kind: {name: value for name, value in policy.items() if name not in forbidden}
            for kind, policy in (views | kinds).items()
        }

    def _kinds(self, method: Method) -> Collection[str]:
        return needed_views(self.registry, method.recipe.pretext_task).counts

    def put_network(self) -> Speed:
        """Propose the largest network that sees each image often enough; return its training speed."""
        if self._network is not None:
            self.draft.put(
                "pretrain.backbone", dict(self._network), "This is the network of the weights to start from."
            )
            return self.speed()
        method, views = self.method()
        side = views[needed_views(self.registry, method.recipe.pretext_task).main].size
        lean, *larger = self.shelf.for_side(side)
        if "pretrain.backbone" in self.draft.left:
            self.draft.put("pretrain.backbone", lean, "This is the smallest network for views of this size.")
            return self.speed()
        self.draft.set("pretrain.backbone", lean)
        chosen, speed = lean, self.speed()
        for network in larger:
            self.draft.set("pretrain.backbone", network)
            slower = self.speed()
            if self.passes(slower) < PASSES:
                break
            chosen, speed = network, slower
        others = f"if the other stages take {1 - PRETRAINING:.0%} of the time"
        reason = f"This is the largest network that sees each image {PASSES} times even {others}"
        if self.passes(speed) < PASSES:
            reason = f"Even this smallest network sees each image fewer than {PASSES} times {others}: allow more hours"
        reason += f". It trains on {speed.images_per_second:,.0f} images/s on this machine."
        self.draft.put("pretrain.backbone", dict(chosen), reason)
        return speed

    def put_finetuning(self, speed: Speed) -> None:
        """Propose a cheaper study of label budgets if the usual one would take too much of the time."""
        before = self.config().finetune
        for epochs, draws in CHEAPER:
            self.draft.set("finetune.epochs", epochs)
            self.draft.set("finetune.draws", draws)
            minutes = {stage.stage: stage.minutes for stage in self.estimates(speed)[1]}["finetune"]
            if fits := 60 * minutes <= FINETUNING * self.seconds:
                break
        reason = f"With more, finetune would take more than {FINETUNING:.0%} of the time."
        if not fits:
            advice = "Shorten finetune.budgets, or increase --hours"
            reason = f"Even so, finetune takes more than {FINETUNING:.0%} of the time. {advice}."
        elif (epochs, draws) == CHEAPER[0]:
            reason = "There is time for the usual study of label budgets."
        if (epochs, draws) != CHEAPER[0] or self.config().finetune != before:  # an earlier plan may have had less time
            self.draft.put("finetune.epochs", epochs, reason)
            self.draft.put("finetune.draws", draws, reason)

    def put_schedule(self, speed: Speed) -> None:
        """Propose the batch size, the number of epochs that fit into the time left by other stages, and the start."""
        work, stages = self.estimates(speed)
        others = 60 * sum(stage.minutes for stage in stages if stage.stage != "pretrain")
        seconds = max(self.seconds - others - FIXED["pretrain"], 0.1 * self.seconds)
        batch = batch_size(work.pool, seconds * self.whole_run(speed).images_per_second, self.machine)
        steps = work.pool // min(batch, work.pool)
        self.draft.put("pretrain.batch_size", batch, f"An epoch of {work.pool:,} images then takes {steps:,} steps.")
        batch = min(self.method()[0].pretrain.batch_size, work.pool)
        self._put_optimizer(batch)
        self._put_micro_batch(batch, speed)
        speed = self.whole_run(speed)
        epochs = epochs_within(seconds, work.pool, batch, speed)
        way = way_of(self.given, work.pool, seconds * speed.images_per_second / work.pool)
        if way in ("frozen", "continued"):
            epochs = min(epochs, MOST_EPOCHS) if way == "continued" else 0
        each = work.pool // batch * batch / speed.images_per_second  # seconds
        own, all_of_it = epochs * each / 60, self.seconds / 60
        reason = f"They take about {own:,.1f} of {all_of_it:,.0f} minutes, the other stages {others / 60:,.1f}."
        if epochs + 1 < seconds / each:
            reason += " There is time for more, but more passes over the images bring no further gain."
        if others > self.seconds:
            reason = f"There are few, as the other stages alone take {others / 60:,.1f} of {all_of_it:,.0f} minutes."
        if way == "frozen":
            reason = "Nothing is trained: the weights ship unchanged."
        epochs = self.draft.put("pretrain.epochs", epochs, reason)  # the user's value, if any
        if way in ("frozen", "continued"):
            way = "continued" if epochs else "frozen"
        put_start(self.draft, way, self.given, work.pool, epochs, epochs * (work.pool // batch))

    def _put_micro_batch(self, batch: int, speed: Speed) -> None:
        """Propose the number of images to encode at once if a step does not fit into memory."""
        processes = self.machine.processes(self.config().pretrain.devices)
        at_once, needed = micro_batch(batch, speed, self.machine, processes), speed.step_bytes(batch) / 2**20
        reason = f"A step needs {needed:,.0f} MiB of memory, which is available."
        if at_once:
            reason = f"A step would need {needed:,.0f} MiB of memory, so its images are encoded in parts."
        if at_once or self.config().pretrain.micro_batch:  # an earlier plan may have proposed one
            self.draft.put("pretrain.micro_batch", at_once, reason)

    def _put_optimizer(self, batch: int) -> None:
        rate = learning_rate(batch) * (1.0 if self._network is None else RATE)
        optimizer = {"name": self.shelf.optimizer["name"], "learning_rate": rate, **self.shelf.optimizer}
        reason = f"The learning rate grows with the square root of the {batch} images per step."
        if self._network is not None:
            reason += f" It is {RATE:.0%} of the rate for random weights, to preserve the pretrained weights."
        self.draft.put("pretrain.optimizer", optimizer, reason)
