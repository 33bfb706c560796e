"""How much of what the labels say is already in the exported backbone's embeddings."""

from ssl_pipeline.config import Config
from stages.command import stage
from stages.paths import AUGMENTED, EXPORT, LINEAR_EVAL, PRETRAIN, REPORTS, STORE


@stage
def linear_eval(config: Config) -> None:
    """Measure the exported file with probes on frozen features, beside its baselines, and judge its clusters."""
    from plugins import load_registry
    from ssl_pipeline.augment.policy import read_policies
    from ssl_pipeline.evaluation.linear.study import linear_evaluation

    linear_evaluation(
        config.linear_eval,
        load_registry(),
        read_policies(AUGMENTED / "policy.json"),
        store=STORE,
        pretrain=PRETRAIN,
        backbone=EXPORT / "backbone.onnx",
        models=LINEAR_EVAL,
        reports=REPORTS / "linear_eval",
    )


if __name__ == "__main__":
    linear_eval()
