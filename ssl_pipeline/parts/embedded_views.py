"""The common part of joint embeddings: views that are encoded, projected, predicted, and taught by a slower copy.

Sources: projector: SimCLR (2002.05709), section 2.1; predictor and rising momentum: BYOL (2006.07733), section 3; local
views: SwAV (2006.09882), section 3.2.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline.parts.heads import ProjectedEnergy, mlp
from ssl_pipeline.parts.multi_crop import stacked
from ssl_pipeline.parts.teacher import Teacher
from ssl_pipeline.types import Encoded, Encoder, Kept, Objective, PretextTask, Step, ViewNeeds, Views

__all__ = ["EmbeddedViews"]


class EmbeddedViews(PretextTask):
    """A pretext task that encodes two or more `global` views, and optional `local` ones.

    Args:
        encoder: The encoder to train.
        loss: The loss, which defines the energy of pairs of projections.
        projector: Widths of the projector's layers; the last one is the length of a projection, P.
        hidden_norm: Whether a batch normalisation follows each layer of the projector, except the last.
        last_norm: Whether a batch normalisation without scale and shift follows the projector's last layer.
        predictor_dim: Width of the hidden layer of a predictor; 0 for no predictor.
        momentum: Momentum of a teacher, in [0, 1); 0 for no teacher.
        momentum_rises: Whether the momentum rises to 1 over the training, by a cosine.
        global_views: Number of global views, G, at least 2.
        local_views: Number of local views, L; 0 for none.
        ships: Owner of the encoder and the projector that ship: the student or the teacher.

    Examples:
        >>> from ssl_pipeline.testing.material import Plain, make_step, make_views, small_encoder
        >>> from ssl_pipeline.types import StepOutput
        >>> class Aligned(EmbeddedViews):  # pulls two views together, and pushes nothing apart
        ...     def __init__(self, encoder, loss):
        ...         super().__init__(encoder, loss, projector=[32, 8])
        ...     def compare(self, encoded, step):
        ...         first, second = F.normalize(self.projected(encoded), dim=1).chunk(2)  # (N, 8) each
        ...         return StepOutput(self.energy_head.loss.energy(first, second).mean(), self.energies(first, second))
        >>> task = Aligned(small_encoder(seed=0), Plain())
        >>> sorted(task.compare(task(make_views(task, count=4, size=16)), make_step(count=4)).metrics)
        ['energy_compatible', 'energy_gap', 'energy_incompatible']
    """

    energy_head: ProjectedEnergy

    def __init__(
        self,
        encoder: Encoder,
        loss: Objective,
        *,
        projector: list[int],
        hidden_norm: bool = True,
        last_norm: bool = False,
        predictor_dim: int = 0,
        momentum: float = 0.0,
        momentum_rises: bool = True,
        global_views: int = 2,
        local_views: int = 0,
        ships: Literal["student", "teacher"] = "student",
    ):
        super().__init__()
        if min(projector) < 1:
            raise ValueError(f"hidden_dim and out_dim must be at least 1, got {projector[0]} and {projector[-1]}")
        if predictor_dim < 0:
            raise ValueError(f"predictor_dim must be at least 0, got {predictor_dim}")
        self.views = self.views_for({"global_views": global_views, "local_views": local_views})
        self.encoder = encoder
        loss.fit_to(projector[-1])
        if ships == "teacher" and not momentum:
            raise ValueError("ships is 'teacher', but there is no teacher: set momentum, such as 0.99")
        layers = mlp([encoder.embedding_dim, *projector], last_norm=last_norm, hidden_norm=hidden_norm)
        self.energy_head, self.ships_average = ProjectedEnergy(layers, loss), ships == "teacher"
        out_dim = projector[-1]
        self.predictor = mlp([out_dim, predictor_dim, out_dim]) if predictor_dim else nn.Identity()
        taught = {"encoder": encoder, "projector": self.energy_head.projector} if momentum else {}
        self.teacher = nn.ModuleDict(
            {name: Teacher(student, momentum=momentum, rising=momentum_rises) for name, student in taught.items()}
        )

    @classmethod
    def views_for(cls, options: Mapping[str, Any]) -> ViewNeeds:
        """Ask for `global` views, two by default, and for `local` ones if there are any."""
        global_views, local_views = options.get("global_views", 2), options.get("local_views", 0)
        if global_views < 2:
            raise ValueError(f"global_views must be at least 2, got {global_views}")
        if local_views < 0:
            raise ValueError(f"local_views must be at least 0, got {local_views}")
        return ViewNeeds("global", global_views, {"local": local_views} if local_views else {})

    def forward(self, views: Views) -> Encoded:
        """Encode each kind of view in one pass (N, V, D); the teacher, if any, encodes the global views as well."""
        encoded = {"embeddings": _encode(self.encoder, views["global"])}
        if "local" in self.views.others:
            encoded["local"] = _encode(self.encoder, views["local"])
        if self.teacher:
            encoded["teacher"] = _encode(self.teacher["encoder"], views["global"])
        return encoded

    def projected(self, encoded: Encoded) -> Tensor:
        """Return projections (G N + L N, P) of all first views, all second views, ..., and then local views.

        The projector receives all crops in one pass, as in the authors' code. With separate statistics for each kind,
        its batch norms would hide from the loss how local and global views differ as a whole.
        """
        kinds = [encoded[kind] for kind in ("embeddings", "local") if kind in encoded]
        projections: Tensor = self.energy_head.projector(stacked(kinds))
        return projections

    def taught(self, encoded: Encoded) -> Tensor:
        """Return the teacher's projections (G N, P), without gradient."""
        projections: Tensor = self.teacher["projector"](stacked([encoded["teacher"]]))
        return projections

    @torch.no_grad()
    def energies(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Return mean energies of compatible unit-norm pairs (n, P), and of pairs with the next image's view."""
        compatible = self.energy_head.loss.energy(first, second).mean()
        incompatible = self.energy_head.loss.energy(first, second.roll(1, dims=0)).mean()
        return {
            "energy_compatible": compatible,
            "energy_incompatible": incompatible,
            "energy_gap": incompatible - compatible,
        }

    def after_step(self, step: Step, kept: Kept) -> None:
        """Update the teacher after a step."""
        for student, teacher in self._students_and_teachers():
            teacher.follow(student, step.done)

    def finish(self) -> None:
        """Replace the weights and statistics of the student by those of the teacher, if the teacher ships."""
        if self.ships_average:
            for student, teacher in self._students_and_teachers():
                student.load_state_dict(teacher.network.state_dict())

    def _students_and_teachers(self) -> Iterator[tuple[nn.Module, Teacher]]:
        students = {"encoder": self.encoder, "projector": self.energy_head.projector}
        for name, teacher in self.teacher.items():
            assert isinstance(teacher, Teacher)
            yield students[name], teacher

    def predict(self, images: Tensor) -> Tensor:
        """Return unit-norm projections (N, P)."""
        return F.normalize(self.energy_head.projector(self.encoder(images)), dim=1)


def _encode(encoder: nn.Module, images: Tensor) -> Tensor:
    """Return embeddings (N, V, D) of views (N, V, C, S, S)."""
    embeddings: Tensor = encoder(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    return embeddings
