"""Checks of operations on views: the promises of `ViewOperation` about images and numbers, and export to a graph."""

import inspect
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.deployment.view_graph import export_views
from ssl_pipeline.testing.material import BANDS, make_images
from ssl_pipeline.testing.subject import Subject
from ssl_pipeline.types import ViewOperation

__all__ = ["becomes_a_graph", "images_stay_images", "is_an_operation", "is_pure", "samples_are_apart"]

_IMAGES = 6


def is_an_operation(subject: Subject) -> None:
    """Check that it derives from ViewOperation, declares its needs and plain options, and has no parameters."""
    operation = subject.build()
    subject.require(
        isinstance(operation, ViewOperation),
        f"its factory returns {type(operation).__name__}; derive it from ssl_pipeline.types.ViewOperation.",
    )
    subject.require(
        isinstance(operation.uniforms, int) and operation.uniforms >= 0,
        f"uniforms is {operation.uniforms!r}; it must be the number of random numbers per view, at least 0.",
    )
    subject.require(
        set(operation.needs) <= {"rgb"}, f"needs is {operation.needs!r}; it must be frozenset() or frozenset({'rgb'})."
    )
    subject.require(not list(operation.parameters()), "it has parameters, which nothing trains. Use buffers.")
    subject.require(
        "p" not in inspect.signature(subject.factory).parameters,
        "it has an option 'p', which in policies is the probability of an operation. Give the option another name.",
    )
    try:
        json.dumps(dict(subject.options))
    except TypeError as error:
        raise subject.fault(f"its options are not plain data, as those of policies must be: {error}.") from error


def images_stay_images(subject: Subject) -> None:
    """Check shape, type and range of views, also of black and of white images, and at both ends of the numbers."""
    operation = subject.build()
    for channels in (3,) if "rgb" in operation.needs else (1, 3, 5):
        for images in (_images(channels, subject.size), *(torch.full((4, channels, 9, 9), v) for v in (0.0, 1.0))):
            for numbers in (_numbers(operation, len(images)), *_ends(operation, len(images))):
                found = operation(images.clone(), numbers.clone())
                subject.require(
                    found.shape == images.shape and found.dtype == torch.float32,
                    f"it turns images {tuple(images.shape)} float32 into {tuple(found.shape)} {found.dtype}; views "
                    "must keep their shape and type.",
                )
                subject.require(
                    bool(((found >= 0) & (found <= 1)).all()),  # false for NaN
                    "values leave [0, 1], or are not finite. End with .clamp(0, 1).",
                )


def is_pure(subject: Subject) -> None:
    """Check that equal images and numbers give equal views, and that the arguments are not changed."""
    operation = subject.build()
    images = _images(3, subject.size)
    numbers = _numbers(operation, _IMAGES)
    given = images.clone(), numbers.clone()
    first, second = operation(*given), operation(*given)
    kept = torch.equal(given[0], images) and torch.equal(given[1], numbers)
    subject.require(kept, "it changes the images or numbers that it receives. Make new tensors.")
    subject.require(
        torch.equal(first, second) and torch.equal(first, subject.build(1)(*given)),
        "equal images and numbers give different views each time. Draw no random numbers: use those in `uniforms`.",
    )


def samples_are_apart(subject: Subject) -> None:
    """Check that a view does not depend on the other images of its batch."""
    operation, images = subject.build(), _images(3, subject.size)
    numbers = _numbers(operation, _IMAGES)
    together = operation(images, numbers)
    alone = torch.cat([operation(images[i : i + 1], numbers[i : i + 1]) for i in range(_IMAGES)])
    subject.require(
        torch.allclose(together, alone, rtol=0, atol=1e-6),
        "a view depends on the other images of its batch. Change each image by its own numbers only.",
    )


def becomes_a_graph(subject: Subject) -> None:
    """Check that it exports as part of augment_<kind>.onnx, and that the graph makes the same views."""
    operation = subject.build()
    policy = Policy.model_validate({"size": subject.size, "operation": {"p": 0.5}})
    built = policy.of_plugins["operation"].with_built({}, operation)
    policy = policy.model_copy(update={"operation": built})
    for images in (RGB8,) if "rgb" in operation.needs else (RGB8, BANDS):
        with tempfile.TemporaryDirectory() as folder:
            try:
                export_views(policy, subject.size + 4, Path(folder, "augment.onnx"), images)
            except Exception as error:  # errors of the exporter have no narrower base class
                cause = error.__cause__ or error
                first = str(cause).strip().partition("\n")[0]
                raise replace(subject, images=images).fault(
                    f"it does not export to an ONNX graph that makes the same views ({type(cause).__name__}: {first}). "
                    "Use operations that torch.export can trace: no branches on values of tensors, no numpy, no Python "
                    "loops over the batch."
                ) from error


def _images(channels: int, size: int) -> Tensor:
    return make_images(_IMAGES, size, channels=channels).clamp(0, 1)


def _numbers(operation: ViewOperation, count: int) -> Tensor:
    return torch.rand(count, operation.uniforms, generator=torch.Generator().manual_seed(0))


def _ends(operation: ViewOperation, count: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(count, operation.uniforms), torch.full((count, operation.uniforms), 1 - 2.0**-24)
