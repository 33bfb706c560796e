"""Opening a teacher: an encoder of this project or of a third party, whose embeddings of images a student imitates."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssl_pipeline.artifacts.assembly import teaching_of
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.config import Choice
from ssl_pipeline.data.framing import Framing
from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.foreign_encoders import IMAGENET, as_graph, check_foreign, try_out
from ssl_pipeline.deployment.foreign_graphs import Embed, embed_with, form_of
from ssl_pipeline.deployment.runtime import open_session
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.products import digest
from ssl_pipeline.progress import say
from ssl_pipeline.provenance.teachers import TEACHER_KEY, file_digests
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.registry import Registry
from ssl_pipeline.teacher_config import Teacher
from ssl_pipeline.types import Inputs, Teaching
from ssl_pipeline.workspace import PRODUCTS, find_path, workspace

__all__ = ["OpenedTeacher", "check_teacher", "open_teacher"]

_TRIED = 2  # images of the pool


class OpenedTeacher(NamedTuple):
    """A teacher that is ready to embed.

    Attributes:
        teaching: Settings of the task for the teacher, with the actual length of its embeddings.
        embed: Function that embeds canvases.
        sha256: Digest of its graph and of its stated inputs.
    """

    teaching: Teaching
    embed: Embed
    sha256: str

    def known_to(self, recipe: Recipe) -> Recipe:
        """Return a recipe with the length of the teacher's embeddings filled in."""
        task = recipe.pretext_task
        filled = Choice.model_validate({**task.model_dump(), "teacher_dim": self.teaching.dim})
        return recipe.model_copy(update={"pretext_task": filled})


def check_teacher(registry: Registry, task: Choice, spec: ImageSpec | None = None) -> Teaching | None:
    """Check the teacher of a task before anything is trained; return None if the task needs no teacher.

    Args:
        registry: Registry of the plugins.
        task: Pretext task and its options.
        spec: Meaning of the images' values; None if it is not known yet, in which case graphs are not opened.

    Raises:
        ConfigError: The teacher is missing or unsuitable; the message names it, and says what to write.
    """
    teaching = teaching_of(registry, task)
    if teaching is None:
        return None
    teacher = teaching.teacher
    if teacher is None:
        raise ConfigError(
            f"{TEACHER_KEY}: pretext task '{task.name}' learns from another encoder, but none is named. Write "
            "pretrain.pretext_task: {teacher: PATH}, with a file that ends in .onnx or .safetensors."
        )
    check_foreign(teacher, registry, TEACHER_KEY)
    path = find_path(teacher.weights, TEACHER_KEY)
    for folder in PRODUCTS:
        for own in {Path(folder), workspace() / folder}:
            if path.is_file() and path.resolve().is_relative_to(own.resolve()):
                raise ConfigError(
                    f"{TEACHER_KEY}: {teacher.weights} lies in {folder}, where the products of this run will replace "
                    "it. Copy it to another folder, such as teachers/, and name the copy."
                )
    if path.suffix.lower() == ".onnx":
        if spec is not None:
            _of_graph(path, teacher, spec)
    elif not teacher.backbone and path.suffix and _said(teacher):
        raise ConfigError(
            f"{TEACHER_KEY}: model.json beside {teacher.weights} states its inputs: leave {_said(teacher)} out."
        )
    elif _said(teacher) and None in (teacher.size, teacher.mean):
        raise ConfigError(f"{TEACHER_KEY}: {teacher.weights}: state size, mean and std, or none of them.")
    return teaching


def open_teacher(registry: Registry, recipe: Recipe, pool: Split, framing: Framing) -> OpenedTeacher | None:
    """Open the teacher of a recipe's task, and try it on two images of the pool; return None if the task has none.

    Args:
        registry: Registry of the plugins.
        recipe: Resolved recipe.
        pool: Training images.
        framing: Settings by which images became canvases.

    Raises:
        ConfigError: The teacher is missing, takes other images than these, contradicts its stated inputs, or does not
            return finite numbers; the message names it.
    """
    task = recipe.pretext_task
    teaching = check_teacher(registry, task, pool.spec)
    if teaching is None or teaching.teacher is None:
        return None
    teacher, name = teaching.teacher, teaching.teacher.weights
    try:
        with tempfile.TemporaryDirectory() as folder:
            stated = None
            if teacher.size and teacher.mean and teacher.std:
                stated = Inputs(teacher.size, teacher.mean, teacher.std)
            card = _described(recipe, pool, framing)
            path = as_graph(teacher, registry, card, Path(folder), TEACHER_KEY, stated, guessed=False)
            own = find_path(name, TEACHER_KEY) == path
            expected = _of_graph(path, teacher, pool.spec) if own else None
            embed = embed_with(open_session(path), expected or IMAGENET, pool.spec)
            sha256 = digest([file_digests(path), expected and list(expected)])
        dim = try_out(embed, pool.images(np.arange(min(_TRIED, len(pool)))))
    except ConfigError:  # it names the key, and the teacher
        raise
    except PipelineError as error:
        raise ConfigError(f"{TEACHER_KEY}, '{name}': {error}") from error
    written = task.options.get("teacher_dim", dim)
    if written != dim:
        raise ConfigError(
            f"pretrain.pretext_task.teacher_dim: {written}, but the embeddings of {name} have {dim} components. Leave "
            "the key out: it is filled in automatically."
        )
    say(f"pretrain: {name} is the teacher, with embeddings of {dim} components")
    known = Teaching(teacher, teaching.targets, dim, teaching.centre)
    return OpenedTeacher(known, embed, sha256)


def _of_graph(path: Path, teacher: Teacher, spec: ImageSpec) -> Inputs | None:
    """Return the stated inputs of a teacher's graph, or None if it takes raw pixels.

    Raises:
        ConfigError: The file is not a graph, it contradicts the stated inputs, or its inputs are unknown.
    """
    name = f"{TEACHER_KEY}, '{teacher.weights}'"
    try:
        form = form_of(open_session(path, provider="cpu"), spec)
    except PipelineError as error:
        raise ConfigError(f"{name}: {error}") from error
    if form.pixels:
        if _said(teacher):
            raise ConfigError(f"{name}: its graph takes raw pixels of any size: leave {_said(teacher)} out.")
        return None
    if teacher.size and form.size and teacher.size != form.size:
        raise ConfigError(f"{name}: the stated size is {teacher.size} px, but its graph takes {form.size} px.")
    size, missing = form.size or teacher.size, []
    if size is None:
        missing.append("size: 224")
    if teacher.mean is None:
        missing.append("mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]")
    if size is None or teacher.mean is None or teacher.std is None:
        raise ConfigError(
            f"{name}: it takes normalised images, but the normalisation of its training is unknown. State it, for "
            f"example {{weights: {teacher.weights}, {', '.join(missing)}}} for the usual values of ImageNet."
        )
    return Inputs(size, teacher.mean, teacher.std)


def _said(teacher: Teacher) -> str:
    """Return which of size, mean and std are stated for a teacher, in words; "" if none are."""
    stated = teacher.model_dump(include={"size", "mean", "std"}, exclude_none=True)
    return " and ".join(stated)


def _described(recipe: Recipe, pool: Split, framing: Framing) -> ModelCard:
    """Return a card that describes the canvases; facts about a third-party network are filled in as it is built."""
    blank: Mapping[str, Any] = {"weights_sha256": "", "params_sha256": "", "plugins": {}, "versions": {}, "seed": 0}
    return ModelCard(
        backbone=Choice(name="teacher"),
        recipe=recipe,
        embedding_dim=1,
        size=framing.canvas,
        resize=framing.resize,
        background=framing.background,
        images=pool.spec,
        mean=pool.mean,
        std=pool.std,
        batch_size=1,
        **blank,
    )
