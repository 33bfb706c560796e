"""Values in papers for the options of recipes that learn from another encoder; see `tests/plugins/papers.py`."""

from tests.plugins.papers import Ours, Paper

_AS_IT_IS = Paper(False, "the teacher's embeddings are used unchanged")

TEACHER_PAPERS: dict[str, dict[str, Paper | Ours]] = {
    "distill": {  # 2201.05131
        "task.targets": Paper("views", "authors' code, run.sh: --single_aug, dataloader.py"),
        "task.centre": _AS_IT_IS,
        "task.hidden_dim": Paper(1024, "authors' code, simreg.py: twice the 512 of a ResNet-18"),
        "task.layers": Paper(4, "authors' code, run.sh: --n_mlp_layers 4"),
        "task.view": Paper("global", "authors' code, run.sh: --weak_weak"),
        "task.views": Paper(1, "authors' code, simreg.py"),
        "task.views_weight": Paper(0.0, "authors' code, simreg.py: its only loss"),
    },
    "distill_relations": {  # 2101.04731
        "task.targets": Paper("views", "authors' code, seed/builder.py: forward"),
        "task.centre": _AS_IT_IS,
        "task.hidden_dim": Paper(512, "authors' code, seed/builder.py: dim_mlp, for a ResNet-18"),
        "task.layers": Paper(2, "authors' code, seed/builder.py: mlp"),
        "task.view": Paper("global", "authors' code, main.py: mocov2_aug"),
        "task.views": Paper(1, "authors' code, seed/builder.py: forward"),
        "task.views_weight": Paper(0.0, "authors' code, main.py: its only loss"),
        "loss.temperature": Paper(0.2, "authors' code, tools/opts.py: temp"),
        "loss.teacher_temperature": Ours(
            0.01,
            "authors' code, tools/opts.py: distill-t 1e-4",
            "at 1e-4 the teacher's softmax selects the image's own key, and no relations are learned",
        ),
        "loss.queue_size": Paper(65536, "authors' code, tools/opts.py: queue"),
        "loss.own": Paper(True, "authors' code, seed/builder.py: logit_t_p"),
    },
}
