"""A complete pretraining run, from the method and the images to the files of a trained model."""

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
    """Folders of a run.

    Attributes:
        store: Store of the images; the run trains on `train`, and watches `val` if it starts from given weights.
        work: Folder for checkpoints of unfinished runs.
        model: Folder of the trained model; it is replaced.
        report: Folder for curves, pictures and warnings; it is replaced.
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
    """Train an encoder, resuming from the run's checkpoint if there is one, and write its model and reports.

    Processes that `torchrun` has started train together, and the first of them writes.

    Args:
        registry: Registry of the method's parts.
        method: Method to train with.
        policies: Kind of view -> policy, with the operations of plugins built.
        places: Folders that are read and written.
        code: Code that the weights depend on: module or plugin -> digest. A checkpoint belongs to this code.
        plugins: Third-party distribution -> version, for the card.
        rehearsed: Whether to try the export before training, which takes some seconds.

    Returns:
        The card of the model.

    Raises:
        PipelineError: The store, the method or its weights are refused, or a graph does not compute what was trained.
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
    moments_of(pool, task, section)  # missing ones fail here instead of half a minute later
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
            say(f"pretrain: 0 epochs, so nothing is trained: the weights of {section.init} ship unchanged")
        if card.view_sizes:
            say(f"pretrain: {in_words(card.view_sizes)}")
        if rehearsed and not checkpoints.exist():  # a run with a checkpoint has passed it
            rehearse(task.encoder, card)
        start = preparation.starting_weights(task, section)
        with checkpoints.until_done():
            write_product(checkpoints.folder / CARD, card.model_dump(mode="json"))  # `watch` reads both
            if start:
                save_weights(checkpoints.folder / START, start)
            ranks.told(str(checkpoints.folder))
            history = train(curves=places.report / "curves")
            card = card.model_copy(update={"shipped_step": history.shipped_step})
            if history.shipped_step is not None:
                say(f"pretrain: the weights after step {history.shipped_step:,} ship, the best on held-out images")
            with atomic_folder(places.model) as folder:
                card = saving.save(folder, task, card, start, texts)
                write_pretext_graph(task, card, pool, folder / "pretext.onnx")
            saving.write_report(places.report, task, section, history, pool, policies, texts, targets)
    return card


def _told_by_the_first() -> AbstractContextManager[None]:
    """Return a context in which only the first rank reports an error that ends all ranks."""
    return nullcontext() if leads() else suppress(CollapsedError, DivergedError, KeyboardInterrupt)
