"""The plugin under test: its factory and options, how it is built, and the errors that its checks raise."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from torch import Tensor

from ssl_pipeline.artifacts.assembly import class_of
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.options import injected, schema
from ssl_pipeline.testing.families import FAMILIES, family_of
from ssl_pipeline.testing.material import (
    InBatch,
    SmallBackbone,
    SmallPatchBackbone,
    drawn_from,
    encoder_on,
    make_images,
)
from ssl_pipeline.types import Factory, Need, Objective, PretextTask

__all__ = ["Subject", "options_are_typed_and_documented"]

_MAKERS_OF_INJECTED: Mapping[str, Callable[[int, ImageSpec], Any]] = {
    "encoder": lambda size, images: encoder_on(SmallBackbone(images.channels), images),
    "negatives": lambda size, images: InBatch(),
    "size": lambda size, images: size,
    "pretrained": lambda size, images: False,
    "in_channels": lambda size, images: images.channels,
}
"""Arguments that the pipeline fills in, as functions of the side of images in px and of their specification. Only the
author can say which `model` of a family to test."""


@dataclass(frozen=True)
class Subject:
    """A plugin under test.

    Attributes:
        factory: The registered factory.
        kind: The kind of plugin, as the registry names it.
        options: The options, as in params.yaml; for a family also `model`.
        size: Side in px of the images to test it on.
        images: The specification of these images.
    """

    factory: Factory
    kind: str
    options: Mapping[str, Any]
    size: int
    images: ImageSpec = RGB8

    @property
    def needs(self) -> frozenset[Need]:
        """The needs that its class declares."""
        return frozenset(getattr(class_of(self.factory), "needs", ()))

    def some_images(self, count: int) -> Tensor:
        """Return images (count, C, S, S) in [0, 1] to test it on."""
        return make_images(count, self.size, channels=self.images.channels)

    def schema(self) -> type[BaseModel]:
        """Return the pydantic model of the options.

        Raises:
            ConfigError: The signature cannot be read.
        """
        return schema(self.factory, self.kind)

    def build(self, seed: int = 0) -> Any:
        """Return a new object whose weights depend only on the seed; the state of torch's generator is not changed."""
        with drawn_from(seed):
            accepted = inspect.signature(self.factory).parameters.keys() & injected(self.kind)
            given = {
                name: make(self.size, self.images) for name, make in _MAKERS_OF_INJECTED.items() if name in accepted
            }
            if "patches" in self.needs:
                given["encoder"] = encoder_on(SmallPatchBackbone(self.size, self.images.channels), self.images)
            if "loss" in accepted:
                given["loss"] = self._plain_loss()
            return self.factory(**given, **self.options)

    def _plain_loss(self) -> Objective:
        """Return the simplest loss of the family that a task takes."""
        wanted = getattr(class_of(self.factory), "objective", PretextTask.objective)
        family = family_of(wanted)
        if family is None:
            raise self.fault(
                f"objective is {wanted.__name__}, but the kit has no loss of that family to test the task with. It has "
                f"losses that derive from {' or '.join(base.__name__ for base in FAMILIES)}."
            )
        return FAMILIES[family].plain()

    def fault(self, sentence: str) -> AssertionError:
        """Return the error to raise, which names the plugin; the sentence says what is broken and what to do."""
        where = "" if self.images == RGB8 else f", on images of {self.images}"
        return AssertionError(f"{getattr(self.factory, '__name__', self.factory)}{where}: {sentence}")

    def require(self, holds: bool, sentence: str) -> None:
        """Raise an error unless a promise holds.

        Args:
            holds: Whether the promise holds.
            sentence: Sentence that says what is broken and what to do.

        Raises:
            AssertionError: The promise does not hold.
        """
        if not holds:
            raise self.fault(sentence)


def options_are_typed_and_documented(subject: Subject) -> None:
    """Check that every parameter has a type that pydantic can check, and an entry under Args: in the docstring."""
    entries = _documented(inspect.getdoc(subject.factory) or "")
    for name, parameter in inspect.signature(subject.factory).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue  # params.yaml cannot reach these
        subject.require(
            parameter.annotation is not parameter.empty,
            f"parameter '{name}' has no type, so params.yaml cannot be checked. Annotate it in the signature.",
        )
        subject.require(
            name in entries,
            f"parameter '{name}' is not documented. Add '{name}: ...' with its unit and range under 'Args:' in the "
            "docstring of the registered factory.",
        )
    try:
        subject.schema()
    except ConfigError as error:
        subject.require(False, str(error))


def _documented(text: str) -> set[str]:
    """Return the names with an entry in the section Args: of a docstring."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", text, re.MULTILINE)
    return set(re.findall(r"^\s+(\w+)(?: \([^)]*\))?:", section[1], re.MULTILINE)) if section else set()
