"""The conformance kit: checks of every promise that a plugin makes, for its author's tests to call.

    from ssl_pipeline.testing import check_loss

    def test_my_loss():
        check_loss(MyLoss, margin=0.5)

Each function takes a registered factory and its options as in params.yaml, builds the plugin as the pipeline does, and
raises an AssertionError that says what is broken and what to do. Checks run on the CPU in seconds, on images generated
from a seed. They need no test framework and do not change the state of torch's generator.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import signature
from typing import Any

from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.terminal import shown
from ssl_pipeline.testing import graphs, kinds, memory_use, operations, optimizers, sources, strategies, training
from ssl_pipeline.testing.families import FAMILIES
from ssl_pipeline.testing.material import BANDS, InBatch, Plain, drawn_from, encoder_on, small_encoder
from ssl_pipeline.testing.plain_tasks import Pairs
from ssl_pipeline.testing.subject import Subject, options_are_typed_and_documented
from ssl_pipeline.testing.training import Trial
from ssl_pipeline.types import Factory, Loss, TaughtLoss, ViewLoss

__all__ = [
    "check_backbone",
    "check_loss",
    "check_negatives",
    "check_operation",
    "check_optimizer",
    "check_pretext_task",
    "check_source",
]

_Check = Callable[[Trial], None]

_PAIRS: Sequence[_Check] = (
    training.steps_are_finite_scalars,
    training.gradients_reach_what_is_trained,
    training.does_not_depend_on_the_order_of_samples,
    training.survives_half_precision_embeddings,
    training.is_deterministic,
    training.state_survives_save_and_load,
    training.notes_nothing_in_itself,
    memory_use.needs_no_square_of_the_batch,
)
_WITHOUT_NEGATIVES: Sequence[_Check] = (
    kinds.names_its_energy,
    kinds.energy_is_of_pairs,
    kinds.equal_vectors_have_finite_gradients,
    *_PAIRS,
    training.learns_in_twenty_steps,
)
_LOSSES: Mapping[type, Sequence[_Check]] = {
    Loss: (
        kinds.names_its_energy,
        kinds.energy_is_of_pairs,
        kinds.gradients_reach_the_anchors,
        kinds.equal_vectors_have_finite_gradients,
        *_PAIRS,
        kinds.loss_heeds_the_negatives_it_is_given,
        training.learns_in_twenty_steps,
    ),
    ViewLoss: _WITHOUT_NEGATIVES,
    TaughtLoss: _WITHOUT_NEGATIVES,
}
_NEGATIVES: Sequence[_Check] = (
    kinds.is_a_strategy,
    strategies.negatives_are_as_promised,
    *_PAIRS,
    partial(training.learns_in_twenty_steps, judge=kinds.plain_loss),
)
_PRETEXT_TASK: Sequence[_Check] = (
    kinds.is_a_task,
    training.forward_is_per_sample,
    training.steps_are_finite_scalars,
    kinds.task_leaves_what_ships,
    training.gradients_reach_what_is_trained,
    training.does_not_depend_on_the_order_of_samples,
    training.survives_half_precision,
    training.is_deterministic,
    training.state_survives_save_and_load,
    training.notes_nothing_in_itself,
    training.learns_in_twenty_steps,
    memory_use.needs_no_square_of_the_batch,
    graphs.energy_exports,
    graphs.text_tower_exports,
)
_BACKBONE: Sequence[_Check] = (
    kinds.is_a_backbone,
    kinds.backbone_gives_what_it_offers,
    training.steps_are_finite_scalars,
    training.forward_is_per_sample,
    training.gradients_reach_what_is_trained,
    training.survives_half_precision,
    training.is_deterministic,
    training.state_survives_save_and_load,
    training.notes_nothing_in_itself,
    training.learns_in_twenty_steps,
)
_PRETEXT_TASK_ON_OTHERS: Sequence[_Check] = (
    training.steps_are_finite_scalars,
    kinds.task_leaves_what_ships,
    graphs.prediction_exports,
)
_BACKBONE_ON_OTHERS: Sequence[_Check] = (
    kinds.is_a_backbone,
    training.steps_are_finite_scalars,
    graphs.encoder_exports,
)
_OPERATION: Sequence[Callable[[Subject], None]] = (
    options_are_typed_and_documented,
    operations.is_an_operation,
    operations.images_stay_images,
    operations.is_pure,
    operations.samples_are_apart,
    operations.becomes_a_graph,
)
_OPTIMIZER: Sequence[Callable[[Subject], None]] = (
    options_are_typed_and_documented,
    optimizers.is_an_optimizer,
    optimizers.lowers_a_loss,
    optimizers.heeds_the_learning_rate,
    optimizers.heeds_the_weight_decay,
    optimizers.goes_on_to_the_bit,
    optimizers.mistakes_are_told,
)
_SOURCE: Sequence[Callable[[Subject], None]] = (
    options_are_typed_and_documented,
    sources.is_a_source,
    sources.records_are_as_promised,
    sources.images_can_be_read,
    sources.nothing_changes_by_itself,
    sources.mistakes_are_told,
)


def check_loss(factory: Factory, /, **options: Any) -> None:
    """Check a loss, with the simplest negatives if it takes any.

    Args:
        factory: The registered factory.
        **options: The options, as in params.yaml.

    Raises:
        AssertionError: A check fails; the message says what is broken and what to do.
    """
    subject = Subject(factory, "loss", options, size=16)
    family = kinds.family(subject)
    _run(_LOSSES[family], Trial(subject, lambda seed: FAMILIES[family].task(small_encoder(seed), subject.build(seed))))


def check_negatives(factory: Factory, /, **options: Any) -> None:
    """Check a negative-sampling strategy, with the simplest loss.

    Args:
        factory: The registered factory.
        **options: The options, as in params.yaml. A strategy with a memory should remember a few dozen keys.

    Raises:
        AssertionError: A check fails; the message says what is broken and what to do.
    """
    subject = Subject(factory, "negatives", options, size=16)
    # a low learning rate, so that keys of past steps remain comparable with new ones
    trial = Trial(subject, lambda seed: Pairs(small_encoder(seed), Plain(), subject.build(seed)), rate=5e-4)
    _run(_NEGATIVES, trial)


def check_pretext_task(factory: Factory, /, *, size: int = 16, **options: Any) -> None:
    """Check a pretext task around a small encoder, with the simplest loss and negatives if it takes any.

    Args:
        factory: The registered factory.
        size: Side of the images in px.
        **options: The options, as in params.yaml.

    Raises:
        AssertionError: A check fails; the message says what is broken and what to do.
    """
    subject = Subject(factory, "pretext_task", options, size)
    _run(_PRETEXT_TASK, Trial(subject, subject.build))
    others = replace(subject, images=RGB8 if "rgb" in subject.needs else BANDS)
    _run_on_others(_PRETEXT_TASK_ON_OTHERS, Trial(others, others.build))


def check_backbone(factory: Factory, /, *, size: int = 32, **options: Any) -> None:
    """Check a backbone by training it on pairs of views.

    Args:
        factory: The registered factory.
        size: Side of the images in px.
        **options: The options, as in params.yaml; for a family also `model`, the name after the slash.

    Raises:
        AssertionError: A check fails; the message says what is broken and what to do.
    """
    subject = Subject(factory, "backbone", options, size)
    _run(_BACKBONE, _of_backbone(subject))
    others = BANDS if "in_channels" in signature(factory).parameters else RGB8
    _run_on_others(_BACKBONE_ON_OTHERS, _of_backbone(replace(subject, images=others)))


def check_operation(factory: Factory, /, *, size: int = 16, **options: Any) -> None:
    """Check an operation on views.

    Args:
        factory: The registered factory.
        size: Side of the images in px.
        **options: The options, as in params.yaml, without `p`.

    Raises:
        AssertionError: A check fails; the message says what is broken and what to do.
    """
    subject = Subject(factory, "operation", options, size)
    for check in _OPERATION:
        check(subject)


def check_optimizer(factory: Factory, /, **options: Any) -> None:
    """Check an optimizer on a sum of squares.

    Args:
        factory: The registered factory.
        **options: The options, as in params.yaml, without those that all optimizers have (`learning_rate` and
            `weight_decay`).

    Raises:
        AssertionError: A check fails; the message says what is broken and what to do.
    """
    subject = Subject(factory, "optimizer", options, size=16)
    for check in _OPTIMIZER:
        check(subject)


def check_source(factory: Factory, /, *, change: Callable[[], object] | None = None, **options: Any) -> None:
    """Check a source of images, on images that its author provides.

    Args:
        factory: The registered factory.
        change: A function that changes the data, for example by adding an image; it is called last.
        **options: The options, as in params.yaml.

    Raises:
        AssertionError: A check fails; the message says what is broken and what to do.
    """
    subject = Subject(factory, "source", options, size=16)
    for check in _SOURCE:
        check(subject)
    if change is not None:
        sources.a_change_is_seen(subject, change)


def _run(checks: Sequence[_Check], trial: Trial) -> None:
    options_are_typed_and_documented(trial.subject)
    for check in checks:
        with drawn_from(0):
            check(trial)


def _of_backbone(subject: Subject) -> Trial:
    return Trial(
        subject,
        lambda seed: Pairs(encoder_on(subject.build(seed), subject.images), Plain(), InBatch()),
        images=8,
    )


def _run_on_others(checks: Sequence[_Check], trial: Trial) -> None:
    """Run checks on images that are not RGB, if the plugin claims to take them, and explain torch's errors of shapes.

    Graphs are exported only here, as an export takes seconds and this one is the more general.
    """
    try:
        _run(checks, trial)
    except (RuntimeError, ValueError) as error:
        if trial.subject.images == RGB8:
            raise
        raise trial.subject.fault(
            f"it fails ({shown(str(error), 200)}). Take the number of channels from encoder.images or in_channels. A "
            'task that learns from colours must declare needs = frozenset({"rgb"}), and is refused for such images.'
        ) from error
