"""Images and their captions: an image should have low energy with its own caption, and high energy with others.

Two towers embed images and texts in one space, and each side is compared with the other: images with the captions of
the batch, and captions with its images. With a softmax over negatives, this is CLIP; with a sigmoid for each pair, it
is SigLIP. With a frozen image tower it is LiT, which fits texts to an existing space.

A caption is never a negative of an image that has it, even if another caption was drawn for that image; captions are
equal if their tokens are. A strategy that remembers keys of past steps identifies a remembered image by the caption
that was drawn for it.

Sources: CLIP (2103.00020), section 2.3, figure 3; SigLIP (2303.15343), section 3; LiT (2111.07991), section 3.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.health.negatives import few_negatives
from ssl_pipeline.health.projections import spread_figures, spread_troubles
from ssl_pipeline.parts.heads import ProjectedEnergy
from ssl_pipeline.parts.text_transformer import TextTransformer
from ssl_pipeline.tokenizer import PADDING
from ssl_pipeline.types import (
    CAPTIONS,
    TOKENS,
    Candidates,
    Encoded,
    Encoder,
    Finding,
    Kept,
    Loss,
    Negatives,
    NegativeStrategy,
    PretextTask,
    Register,
    Step,
    StepOutput,
    TextNeeds,
    Tile,
    Views,
)

_LEAST_STD = 0.03  # in healthy runs, the embeddings of images and of texts fill a narrow cone each, but not a point
_LOOKED_AT = 256  # most images and captions that are matched for a figure, which bounds its cost in large batches


class ImageText(PretextTask):
    """Images compared with captions and captions with images, by the mean of both losses.

    Args:
        encoder: The encoder to train.
        loss: The loss that shapes the energies of images and texts.
        negatives: The strategy that selects the incompatible pairs; images and texts have a copy each.
        vocabulary: Largest number of entries of the tokenizer's vocabulary, at least 259.
        context: Largest number of tokens of a caption, including its start and its end, at least 3; longer captions are
            cut off.
        width: Width of the text tower's blocks, a multiple of `heads`.
        depth: Number of blocks of the text tower, at least 1.
        heads: Number of attention heads of the text tower, at least 1.
        out_dim: Length of an embedding in the space of images and texts, to which a linear layer projects the
            backbone's embedding; null uses the backbone's embedding without such a layer.
        image_tower: Training of the backbone: trained, or frozen at the weights of `pretrain.init`.
        view: The kind of view to learn from, with gentle augmentation: it should show what a caption mentions.
    """

    objective = Loss

    def __init__(
        self,
        encoder: Encoder,
        loss: Loss,
        negatives: NegativeStrategy,
        *,
        vocabulary: int,
        context: int,
        width: int,
        depth: int,
        heads: int,
        out_dim: int | None,
        image_tower: Literal["trained", "frozen"] = "trained",
        view: str = "plain",
    ):
        super().__init__()
        if out_dim is not None and out_dim < 1:
            raise ValueError(f"out_dim must be at least 1, or null, got {out_dim}")
        self.views, self.kind = self.views_for({"view": view}), view
        self.encoder = encoder if out_dim is None else encoder.projected(out_dim)
        self.frozen = image_tower == "frozen"
        self.encoder.backbone.requires_grad_(not self.frozen)
        dim = self.encoder.embedding_dim
        loss.fit_to(dim)
        self.loss, self.energy_head = loss, ProjectedEnergy(nn.Identity(), loss)
        self.negatives = nn.ModuleDict({"texts": negatives, "images": copy.deepcopy(negatives)})
        needs = TextNeeds(vocabulary, context)
        self.text_tower = TextTransformer(needs, dim, width=width, depth=depth, heads=heads)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen backbone stays in eval mode, so that its running statistics stay as they are."""
        super().train(mode)
        if self.frozen:
            self.encoder.backbone.eval()
        return self

    def forward(self, views: Views) -> Encoded:
        """Return embeddings of images (N, P) and of texts (N, P), and the ids of captions (N, M)."""
        assert self.text_tower is not None
        tokens = views[TOKENS]
        texts = self.text_tower(tokens, (tokens != PADDING).long())
        return {"images": self.encoder(views[self.kind][:, 0]), "texts": texts, "captions": views[CAPTIONS]}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Compare each image with all captions of the batch, and each caption with all images."""
        images, texts = (F.normalize(encoded[side], dim=1) for side in ("images", "texts"))
        captions = encoded["captions"]
        of_images, chosen_texts = self._held_against("texts", images, texts, captions, step)
        of_texts, chosen_images = self._held_against("images", texts, images, captions, step)
        loss = (of_images.loss + of_texts.loss) / 2
        kept = {"loss": of_texts.kept, "texts": chosen_texts.kept, "images": chosen_images.kept}
        if not step.measured:
            return StepOutput(loss, {}, kept)
        first, second = ({**of_images.metrics, **chosen_texts.figures}, {**of_texts.metrics, **chosen_images.figures})
        metrics = {name: (first[name] + second[name]) / 2 for name in first}
        of_text_tower = {f"text_{name}": value for name, value in spread_figures(encoded["texts"]).items()}
        spread = {**spread_figures(encoded["images"]), **of_text_tower}
        return StepOutput(loss, {**metrics, **self._energies(images, texts, captions), **spread}, kept)

    def _held_against(
        self, kind: str, anchors: Tensor, keys: Tensor, captions: Tensor, step: Step
    ) -> tuple[StepOutput, Negatives]:
        """Return the loss of anchors (N, P), whose positives are the keys (N, P) of the same row, and the negatives."""
        drawn, strategy = captions[:, 0], self.negatives[kind]
        assert isinstance(strategy, NegativeStrategy)
        negatives = strategy.select(Candidates(anchors, keys, drawn, keys, drawn, step))
        negatives = _without_shared(negatives, captions, of_anchors=kind == "texts")
        return self.loss(anchors, negatives.compatible(keys), negatives, step), negatives

    @torch.no_grad()
    def _energies(self, images: Tensor, texts: Tensor, captions: Tensor) -> dict[str, Tensor]:
        """Return mean energies of images with their own captions and with the next image's, and how many match."""
        compatible = self.loss.energy(images, texts).mean()
        incompatible = self.loss.energy(images, texts.roll(1, dims=0)).mean()
        images, texts, captions = images[:_LOOKED_AT], texts[:_LOOKED_AT], captions[:_LOOKED_AT]
        cosines = images @ texts.T
        equal = (captions[:, :, None] == captions[None, None, :, 0]).any(dim=1)
        best_other = cosines.masked_fill(equal, -torch.inf).amax(dim=1)
        return {
            "energy_compatible": compatible,
            "energy_incompatible": incompatible,
            "energy_gap": incompatible - compatible,
            "caption_recall": (cosines.diagonal() > best_other).float().mean(),
        }

    def after_step(self, step: Step, kept: Kept) -> None:
        """Update the loss and the strategies after a step."""
        self.loss.after_step(step, kept["loss"])
        for kind, strategy in self.negatives.items():
            assert isinstance(strategy, NegativeStrategy)
            strategy.after_step(step, kept[kind])

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report collapsed embeddings of images or texts, and the findings of the loss and of the strategy."""
        strategy = self.negatives["texts"]
        assert isinstance(strategy, NegativeStrategy)
        texts = {name.removeprefix("text_"): value for name, value in figures.items() if name.startswith("text_")}
        collapse = [  # ranks are not judged: with two captions, all embeddings should lie on a line
            found
            for of, own in (("images", figures), ("captions", texts))
            for found in spread_troubles(own, _LEAST_STD, self.loss.remedy, of, least_rank=0.0)
        ]
        few = few_negatives(figures, strategy.remedy) if self.loss.needs_many_negatives else []
        return collapse + (few or self.loss.diagnose(figures)) + strategy.diagnose(figures)

    def predict(self, images: Tensor) -> Tensor:
        """Return unit-norm embeddings (N, P) in the space of images and texts."""
        return F.normalize(self.encoder(images), dim=1)


def _without_shared(negatives: Negatives, captions: Tensor, *, of_anchors: bool) -> Negatives:
    """Exclude captions of an image other than the drawn one from its negatives; no change if each image has one.

    Args:
        negatives: The negatives, whose ids are those of the drawn captions.
        captions: Ids (N, M) int64 of all captions of the batch's images, the drawn one first.
        of_anchors: Whether images are the anchors and captions the keys, or the other way round. If images are the
            keys, all captions are known only for images of the batch. A remembered image is identified by the caption
            that was drawn for it, and is not a negative of any caption of the same image.
    """
    others, drawn, weight = captions[:, 1:], captions[:, 0], negatives.log_weight
    if not others.shape[1]:
        return negatives
    asked = negatives.key_samples
    count = min(len(asked), len(drawn))
    batch_own = asked[:count] == drawn[:count]
    if of_anchors:
        by_one, of_keys = torch.ones_like(asked, dtype=torch.bool), asked[:, None].expand(-1, 0)
    else:  # (K,), whether a key is known by one caption only, and (K, M - 1), the further captions of the others
        by_one = torch.cat([~batch_own, torch.ones_like(asked[count:], dtype=torch.bool)])
        known = torch.where(batch_own[:, None], others[:count], asked[:count, None])
        of_keys = torch.cat([known, asked[count:, None].expand(-1, others.shape[1])])

    def log_weight(tile: Tile) -> Tensor:
        found = torch.zeros_like(tile.similarities) if weight is None else weight(tile)
        rows, columns = negatives.anchor_samples[tile.anchors, None], asked[None, tile.keys]
        for own in others[tile.anchors].unbind(dim=1):  # also an old key of the anchor's own image
            found = found.masked_fill((own[:, None] == columns) & by_one[None, tile.keys], -torch.inf)
        for other in of_keys[tile.keys].unbind(dim=1):
            found = found.masked_fill(rows == other, -torch.inf)
        return found

    return replace(negatives, log_weight=log_weight)


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `image_text`."""
    register("image_text", ImageText)
