"""Values of papers and their authors' code for the options of each recipe, and reasons for those that we changed.

`task`, `loss` and `negatives` are the parts of a recipe. A `Paper` value is the source's own, with its location there;
an `Ours` value differs from it or has no counterpart.
"""

from typing import Any, NamedTuple


class Paper(NamedTuple):
    """A value of the source.

    Attributes:
        value: Value, in the units of the option.
        where: Section of the paper, or file of the authors' code.
    """

    value: Any
    where: str


class Ours(NamedTuple):
    """A value that differs from the source, or that the source does not have.

    Attributes:
        value: Value in the recipe.
        source: What the source uses instead.
        why: Reason for the difference.
    """

    value: Any
    source: str
    why: str


_NO_PROJECTOR = "no such layer"
_AS_SIMCLR = "a projector of SimCLR's makes it comparable with the other recipes"
_SIMCLR = Paper(2048, "2.1 and appendix B: a hidden layer as wide as the embedding of a ResNet-50")
_SMALL = "authors' code, model.py: 2048, 512, 128"  # debiased_contrastive and HCL share it
_EMP_PROJECTOR = "experiment settings: 2 linear layers with 4096 hidden units and 512 output units"
_BYOL_NECK = "authors' code, configs: NonLinearNeckSimCLR"

PAPERS: dict[str, dict[str, Paper | Ours]] = {
    "simclr": {  # 2002.05709
        "task.hidden_dim": _SIMCLR,
        "task.out_dim": Paper(128, "2.1"),
        "task.batch_norms": Paper("all", "authors' code, model_util.py: after the last layer too"),
        "task.keys": Paper("both_views", "2.1: 2 (N - 1) negatives"),
        "loss.temperature": Paper(0.1, "5.1, table 5: the best one"),
    },
    "mocov2": {  # 2003.04297, on 1911.05722
        "task.hidden_dim": Paper(2048, "3: MLP head"),
        "task.out_dim": Paper(128, "1911.05722, 3.3"),
        "task.batch_norms": Paper("none", "authors' code, builder.py: Linear, ReLU, Linear"),
        "task.momentum": Paper(0.999, "1911.05722, 3.3"),
        "task.momentum_rises": Paper(False, "1911.05722, 3.2"),
        "task.symmetric": Paper(False, "1911.05722, algorithm 1"),
        "loss.temperature": Paper(0.2, "3, table 2"),
        "negatives.queue_size": Paper(65536, "1911.05722, 3.3"),
    },
    "nnclr": {  # 2104.14548
        "task.hidden_dim": Paper(2048, "3.3: fully connected layers of 2048, 2048, d"),
        "task.layers": Paper(3, "3.3"),
        "task.out_dim": Paper(256, "3.3: d"),
        "task.predictor_dim": Paper(4096, "3.3: fully connected layers of 4096, d"),
        "task.neighbours": Paper(98304, "4: support set"),
        "task.keys": Paper("other_view", "3.2, equation 3: N - 1 negatives"),
        "loss.temperature": Paper(0.1, "4"),
    },
    "dcl": {  # 2110.06848
        "task.hidden_dim": _SIMCLR,
        "task.out_dim": Paper(128, "4: as SimCLR"),
        "loss.temperature": Paper(0.1, "authors' code, loss/dcl.py"),
        "loss.sigma": Paper(0.0, "3, equation 5: DCL; DCL-W has 0.5"),
    },
    "debiased": {  # 2007.00224
        "task.hidden_dim": Paper(512, _SMALL),
        "task.out_dim": Paper(128, _SMALL),
        "loss.temperature": Paper(0.5, "5.1"),
        "negatives.class_prior": Paper(0.1, "5.1: for CIFAR-10"),
    },
    "hcl": {  # 2010.04592
        "task.hidden_dim": Paper(512, _SMALL),
        "task.out_dim": Paper(128, _SMALL),
        "loss.temperature": Paper(0.5, "5.1"),
        "negatives.beta": Paper(2.0, "5.1: 1, of cosines over a temperature of 0.5"),
        "negatives.class_prior": Paper(0.1, "5.1: for CIFAR-10"),
    },
    "siglip_style": {  # 2303.15343
        "task.hidden_dim": Ours(2048, _NO_PROJECTOR, _AS_SIMCLR),
        "task.out_dim": Ours(128, "it compares the embeddings of images and texts", _AS_SIMCLR),
        "loss.scale": Paper(10.0, "3.2: t' begins at log 10"),
        "loss.bias": Paper(-10.0, "3.2"),
    },
    "nce": {  # 1805.01978
        "task.hidden_dim": Ours(2048, _NO_PROJECTOR, _AS_SIMCLR),
        "task.out_dim": Paper(128, "3.4"),
        "loss.temperature": Paper(0.07, "3.4"),
        "loss.normaliser": Paper("estimated", "3.2: from the first batch"),
        "negatives.memory_size": Paper(4096, "4.1: m, noise samples per instance"),
    },
    "triplet": {  # 1503.03832
        "task.hidden_dim": Ours(2048, _NO_PROJECTOR, _AS_SIMCLR),
        "task.out_dim": Paper(128, "5.4"),
        "loss.distance": Paper("squared_euclidean", "3.1, equation 1"),
        "loss.margin": Paper(0.2, "3.3"),
        "negatives.margin": Paper(0.1, "3.2: the same margin, in cosines"),
    },
    "truncated_triplet": {  # 2104.08760, by its code: configs/selfsup/triplet/ and triplet_loss_head.py
        "task.hidden_dim": Paper(4096, _BYOL_NECK),
        "task.out_dim": Paper(256, _BYOL_NECK),
        "task.batch_norms": Paper("hidden", _BYOL_NECK + ", with_last_bn=False"),
        "task.predictor_dim": Paper(4096, _BYOL_NECK),
        "task.momentum": Paper(0.99, "authors' code, configs: base_momentum"),
        "task.momentum_rises": Paper(True, "authors' code, configs: end_momentum 1"),
        "task.keys": Paper("other_view", "authors' code, head: the keys of one view"),
        "loss.margin": Paper(98.0, "authors' code, head: 100, for |x - y|² - 2 on both sides"),
        "loss.positive_weight": Paper(2.0, "authors' code, head: gamma"),
        "loss.rank": Paper(2, "authors' code, head: all but the first of the ten nearest"),
        "loss.band": Paper(9, "authors' code, head: all but the first of the ten nearest"),
    },
    "energy": {  # LeCun et al. 2006, which predates learning from two views
        "task.hidden_dim": Ours(2048, _NO_PROJECTOR, _AS_SIMCLR),
        "task.out_dim": Ours(128, "no projection", _AS_SIMCLR),
        "loss.energy": Ours("squared_euclidean", "any energy", "projections have unit length: it is 2 - 2 cos"),
        "loss.beta": Ours(5.0, "any positive constant", "SimCLR's temperature of 0.1, with 2 - 2 cos for an energy"),
    },
    "spectral": {  # 2106.04156, by its code: configs/spectral_resnet_mlp8192_norelu_3layer_imagenet_lr005_mu10_...
        "task.hidden_dim": Paper(8192, "authors' code, configs"),
        "task.layers": Paper(3, "authors' code, configs"),
        "task.out_dim": Paper(8192, "authors' code, configs"),
        "task.keys": Paper("other_view", "authors' code, models/spectral.py: first views against second ones"),
        "loss.radius": Paper(10.0, "authors' code, configs: mu"),
    },
    "align_uniform": {  # 2005.10242
        "task.hidden_dim": Ours(2048, _NO_PROJECTOR, _AS_SIMCLR),
        "task.out_dim": Paper(128, "authors' code, examples/stl10: feat_dim"),
        "loss.alpha": Paper(2.0, "authors' code, examples/stl10: align_alpha"),
        "loss.t": Paper(2.0, "authors' code, examples/stl10: unif_t"),
        "loss.weight": Paper(1.0, "authors' code, examples/stl10: unif_w over align_w"),
    },
    "byol": {  # 2006.07733
        "task.hidden_dim": Paper(4096, "3.3"),
        "task.out_dim": Paper(256, "3.3"),
        "task.last_norm": Paper(False, "3.3: the output of this MLP is not batch normalised"),
        "task.predictor_dim": Paper(4096, "3.3: the architecture of the projector"),
        "task.momentum": Paper(0.996, "3.3: tau_base"),
        "task.momentum_rises": Paper(True, "3.3"),
        "task.ships": Paper("student", "3.1: at the end of training, only the encoder f_theta is kept"),
    },
    "simsiam": {  # 2011.10566
        "task.hidden_dim": Paper(2048, "3, baseline settings"),
        "task.out_dim": Paper(2048, "3, baseline settings"),
        "task.layers": Paper(3, "3, baseline settings"),
        "task.last_norm": Paper(True, "3, baseline settings: BN on each layer, its output included"),
        "task.predictor_dim": Paper(512, "3, baseline settings"),
        "loss.stop_gradient": Paper(True, "3, equation 3"),
    },
    "barlow_twins": {  # 2103.03230
        "task.hidden_dim": Paper(8192, "2.2"),
        "task.out_dim": Paper(8192, "2.2"),
        "task.layers": Paper(3, "2.2"),
        "loss.redundancy": Paper(0.005, "2.2: lambda"),
    },
    "vicreg": {  # 2105.04906
        "task.hidden_dim": Paper(8192, "4.2"),
        "task.out_dim": Paper(8192, "4.2"),
        "task.layers": Paper(3, "4.2"),
        "loss.invariance": Paper(25.0, "4.2: lambda"),
        "loss.variance": Paper(25.0, "4.2: mu, for the variance term of the code, which is half the paper's"),
        "loss.covariance": Paper(1.0, "4.2: nu"),
    },
    "w_mse": {  # 2007.06346
        "task.hidden_dim": Paper(1024, "4.1"),
        "task.out_dim": Paper(64, "4.1: for CIFAR-10"),
        "loss.sub_batch": Paper(128, "4.1: twice as many as dimensions"),
        "loss.shrinkage": Paper(0.0, "authors' code: w_eps"),
    },
    "emp": {  # 2304.03977
        "task.hidden_dim": Paper(4096, _EMP_PROJECTOR),
        "task.out_dim": Paper(512, _EMP_PROJECTOR + "; authors' code, model/model.py: z_dim 1024"),
        "task.layers": Paper(2, _EMP_PROJECTOR + "; authors' code, model/model.py: 3"),
        "task.global_views": Paper(
            200, "tables of results: 20 and 200 patches; authors' code, main.py: num_patches 100"
        ),
        "loss.distortion": Paper(0.2, "authors' code, main.py: eps"),
        "loss.invariance": Paper(200.0, "authors' code, main.py: patch_sim"),
    },
    "swav": {  # 2006.09882
        "task.hidden_dim": Paper(2048, "authors' code, main_swav.py: hidden_mlp"),
        "task.out_dim": Paper(128, "authors' code, scripts/swav_800ep_pretrain.sh"),
        "task.local_views": Paper(6, "authors' code, the same script: nmb_crops"),
        "loss.prototypes": Paper(3000, "authors' code, the same script: nmb_prototypes"),
        "loss.temperature": Paper(0.1, "authors' code, the same script"),
        "loss.epsilon": Paper(0.05, "authors' code, the same script"),
        "loss.iterations": Paper(3, "3.1"),
        "loss.queue_size": Paper(0, "authors' code, the same script; 3,840 in batches of 256"),
    },
    "dino": {  # 2104.14294
        "task.hidden_dim": Paper(2048, "3.1, network architecture"),
        "task.out_dim": Paper(256, "authors' code, vision_transformer.py: bottleneck_dim"),
        "task.layers": Paper(3, "3.1, network architecture"),
        "task.momentum": Paper(0.996, "3.1, teacher network"),
        "task.momentum_rises": Paper(True, "3.1, teacher network"),
        "task.ships": Paper("teacher", "authors' code, eval_linear.py and eval_knn.py: checkpoint_key"),
        "loss.prototypes": Paper(65536, "3.1: K"),
        "loss.temperature": Paper(0.1, "3.1, implementation details"),
        "loss.teacher_temperature": Paper(0.04, "3.1: the initial value, which rises to 0.07"),
        "loss.center_momentum": Paper(0.9, "authors' code, main_dino.py"),
        "loss.momentum": Paper(0.996, "3.1, teacher network: its head follows too"),
    },
    "rotation": {},  # 1803.07728: the task has no options, only its four turns
    "flip": {},  # in no paper
    "jigsaw": {  # 1603.09246
        "task.tiles": Paper(3, "3.1: a grid of 3 x 3"),
        "task.permutations": Paper(1000, "3.2, table 4: the best set"),
        "task.hidden_dim": Paper(4096, "3.1, figure 3: fc7"),
        "task.gap": Ours(
            0.01, "tiles of 64 px in cells of 75 px", "shares of a cell of 225 / 3 px: 1 px and 9 px leave 64 px"
        ),
        "task.jitter": Ours(0.13, "tiles of 64 px in cells of 75 px", "with the gap it leaves 64 px"),
    },
    "relative_patch": {  # 1505.05192
        "task.hidden_dim": Paper(4096, "3, figure 3: fc6"),
        "task.gap": Ours(
            0.25, "48 px between patches of 96 px", "a share of a cell, a third of a view: 33 px, with 14 px of slack"
        ),
        "task.jitter": Ours(0.11, "7 px to either side", "a share of a cell, a third of 400 px: 14 px in all"),
    },
    "colorization": {  # 1603.08511
        "task.channels": Paper(256, "figure 2 and the authors' models: channels of conv8"),
    },
    "masked": {  # 2111.09886
        "task.mask_size": Paper(32, "4.1.1: masked patches of 32 px"),
        "task.ratio": Paper(0.6, "4.1.1"),
    },
    "mae": {  # 2111.06377
        "task.width": Paper(512, "4.1: decoder width"),
        "task.depth": Paper(8, "4.1: decoder depth"),
        "task.heads": Paper(16, "authors' code, models_mae.py: decoder_num_heads"),
        "task.ratio": Paper(0.75, "4.1"),
    },
    "denoise": {  # Vincent et al. 2008
        "task.noise": Ours(0.3, "a share of 0.1 to 0.4 of the pixels set to 0", "the noise of photographs is additive"),
        "task.blur": Ours(2.0, "no blur", "cameras blur images, too"),
        "task.clean": Ours(0.1, "no clean images", "the energy must also be right for clean images"),
    },
    "masked_tokens": {  # 2106.08254
        "task.words": Paper(8192, "2.1: vocabulary"),
        "task.patch_size": Paper(16, "2.1"),
        "task.mask_size": Ours(32, "blocks of at least 16 patches", "holes of one size, as in `masked`"),
        "task.ratio": Paper(0.4, "2.3"),
    },
    "clip": {  # 2103.00020
        "task.vocabulary": Paper(49408, "authors' code, model.py, as released: 49,152 and special tokens"),
        "task.context": Paper(77, "authors' code, clip.py: context_length"),
        "task.width": Paper(512, "table 20: ViT-B/32, text transformer"),
        "task.depth": Paper(12, "table 20: ViT-B/32, text transformer"),
        "task.heads": Paper(8, "table 20: ViT-B/32, text transformer"),
        "task.out_dim": Paper(512, "table 20: ViT-B/32, embedding dimension"),
        "task.image_tower": Paper("trained", "2.4: from scratch"),
        "loss.temperature": Paper(0.07, "2.5"),
        "loss.learned_temperature": Paper(True, "2.5: clipped, so that logits are not scaled by more than 100"),
    },
    "siglip": {  # 2303.15343
        "task.vocabulary": Paper(32000, "4: a sentencepiece vocabulary of 32k"),
        "task.context": Ours(64, "4: 16 tokens", "as in the authors' released models"),
        "task.width": Paper(768, "4: a text tower of size B"),
        "task.depth": Paper(12, "4: a text tower of size B"),
        "task.heads": Paper(12, "4: a text tower of size B"),
        "task.out_dim": Paper(768, "4: the width of the towers"),
        "task.image_tower": Paper("trained", "4.2: from scratch"),
        "loss.scale": Paper(10.0, "3.2 and algorithm 1: t' starts at log 10"),
        "loss.bias": Paper(-10.0, "3.2 and algorithm 1"),
    },
    "slip": {  # 2112.12750
        "task.vocabulary": Paper(49408, "authors' code, models.py"),
        "task.context": Paper(77, "authors' code, models.py"),
        "task.width": Paper(512, "authors' code, models.py"),
        "task.depth": Paper(12, "authors' code, models.py"),
        "task.heads": Paper(8, "authors' code, models.py"),
        "task.out_dim": Paper(512, "authors' code, models.py"),
        "task.hidden_dim": Paper(4096, "3.1, and authors' code, main.py: ssl-mlp-dim"),
        "task.views_dim": Paper(256, "3.1, and authors' code, main.py: ssl-emb-dim"),
        "task.layers": Paper(3, "authors' code, models.py: _build_mlp"),
        "task.views_temperature": Paper(0.1, "authors' code, main.py: ssl-temp"),
        "task.views_weight": Paper(1.0, "authors' code, main.py: ssl-scale"),
        "loss.temperature": Paper(0.07, "authors' code, models.py: logit_scale"),
        "loss.learned_temperature": Paper(True, "authors' code, main.py: clamped at 100"),
    },
}
