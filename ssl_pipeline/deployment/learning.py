"""A run of pretraining from its method and its images to the files of a trained model."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ssl_pipeline.artifacts.card import CARD, ModelCard
from ssl_pipeline.artifacts.files import save_weights
from ssl_pipeline.artifacts.start import START
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.data.framing import read_framing
from ssl_pipeline.data.store import open_split
from ssl_pipeline.deployment.pretext_graph import write_pretext_graph
from ssl_pipeline.deployment.rehearsal import rehearse
from ssl_pipeline.deployment.teacher_targets import targets_of
from ssl_pipeline.deployment.teachers import open_teacher
from ssl_pipeline.products import atomic_folder, write_product
from ssl_pipeline.progress import say
from ssl_pipeline.provenance.fingerprint import fingerprint
from ssl_pipeline.provenance.given_weights import given_digest
from ssl_pipeline.ranks import leads
from ssl_pipeline.recipes import Method
from ssl_pipeline.registry import Registry
from ssl_pipeline.resolution import in_words
from ssl_pipeline.training import checkpoint, optimization, precision, preparation, pretraining, saving
from ssl_pipeline.training.captions import tokenized
from ssl_pipeline.training.endings import CollapsedError, DivergedError
from ssl_pipeline.training.held_out_watch import open_held_out
from ssl_pipeline.training.initial import say_left_out
from ssl_pipeline.training.other_frames import moments_of
from ssl_pipeline.training.together import joined
from ssl_pipeline.workspace import find_path

__all__ = ["Places", "learn"]


@dataclass(frozen=True)
class Places:
    """The folders of a run.

    Attributes:
        store: The store of images: `train` is learned from, `val` watched where there is a start to lose.
        work: The folder of the checkpoints of unfinished runs.
        model: The folder of the trained model, which is replaced.
        report: The folder of curves, pictures and warnings, which is replaced.
    """

    store: Path
    work: Path
    model: Path
    report: Path


def learn(
    registry: Registry,
    method: Method,
    policies: Mapping[str, Policy],
    places: Places,
    code: Mapping[str, str],
    plugins: Mapping[str, str],
    *,
    rehearsed: bool = True,
) -> ModelCard:
    """Learn an encoder by a method, going on from the run's checkpoint if there is one, and write what is left of it.

    The processes that `torchrun` has started learn together, and the first of them writes.

    Args:
        registry: The registry that has the method's parts.
        method: The method.
        policies: Kind of view -> policy; operations of plugins are built.
        places: The folders that are read and written.
        code: The code that shapes the weights: module or plugin -> digest. A checkpoint belongs to it.
        plugins: Third-party distribution -> version, for the card.
        rehearsed: Whether the export is tried before training, which takes some seconds.

    Returns:
        The card of the model.

    Raises:
        PipelineError: The store, the method or its weights are refused, or a graph is not what was trained.
        KeyboardInterrupt: A stop was requested; a checkpoint is saved.
    """
    recipe, section = method.recipe, method.pretrain
    pool, framing = open_split(places.store, "train"), read_framing(places.store)
    teacher = open_teacher(registry, recipe, pool, framing)
    if teacher is not None:
        recipe = teacher.known_to(recipe)
    task = preparation.build(registry, recipe, section, pool, policies)
    if given_digest(section.init):
        say_left_out(task.encoder.backbone, find_path(section.init, "pretrain.init"))
    moments_of(pool, task, section)  # which are missed now, and not after half a minute
    numeric_format = precision.resolve_precision(section.precision, precision.best_device())
    held_out = open_held_out(places.store, section)
    run = fingerprint(section, task, policies, pool, code, held_out)
    card = preparation.describe_run(section, recipe, task, pool, framing, policies, plugins, held_out)
    texts = tokenized(task, pool)
    make_optimizer = partial(optimization.build_optimizer, registry, section.optimizer, layer_decay=section.layer_decay)
    with _told_by_the_first(), joined(numeric_format.device) as ranks:
        surroundings = checkpoint.environment(numeric_format, ranks.count)
        checkpoints = checkpoint.Checkpoints(places.work, run, surroundings)
        targets = None if teacher is None else targets_of(teacher, pool, task.views.main, places.work / "teachers")
        parts = (task, pool, policies, section, make_optimizer, numeric_format, checkpoints)
        train = partial(pretraining.train, *parts, ranks=ranks, texts=texts, targets=targets, held_out=held_out)
        if not ranks.leads:
            checkpoints.folder = Path(ranks.told(""))
            train()
            return card
        if card.frozen:
            say(f"pretrain: 0 epochs train nothing: the weights of {section.init} ship as they are")
        if card.view_sizes:
            say(f"pretrain: {in_words(card.view_sizes)}")
        if rehearsed and not checkpoints.exist():  # whoever wrote one has passed the trial
            rehearse(task.encoder, card)
        start = preparation.starting_weights(task, section)
        with checkpoints.until_done():
            write_product(checkpoints.folder / CARD, card.model_dump(mode="json"))  # for who watches the run
            if start:
                save_weights(checkpoints.folder / START, start)  # for them, too
            ranks.told(str(checkpoints.folder))
            history = train(curves=places.report / "curves")
            card = card.model_copy(update={"shipped_step": history.shipped_step})
            if history.shipped_step is not None:
                say(f"pretrain: the weights of step {history.shipped_step:,} ship, the best on held-out images")
            with atomic_folder(places.model) as folder:
                card = saving.save(folder, task, card, start, texts)
                write_pretext_graph(task, card, pool, folder / "pretext.onnx")
            saving.write_report(places.report, task, section, history, pool, policies, texts, targets)
    return card


def _told_by_the_first() -> AbstractContextManager[None]:
    """Return the context in which ranks but the first are silent about what ends all of them."""
    return nullcontext() if leads() else suppress(CollapsedError, DivergedError, KeyboardInterrupt)
