"""Everything that ships, in one folder that can be verified on the target machine."""

from ssl_pipeline.config import Config
from ssl_pipeline_stages.command import stage
from ssl_pipeline_stages.paths import BUNDLE, EXPORT, FINETUNE, INGESTED, LINEAR_EVAL, PRETRAIN, REPORTS, STORE


@stage
def bundle(config: Config) -> None:
    """Collect everything that ships in one folder, with a model card and a script that verifies it."""
    from ssl_pipeline.bundle.drift_reference import reference_in
    from ssl_pipeline.bundle.model_card import read_told
    from ssl_pipeline.bundle.writing import Shipped, write_bundle
    from ssl_pipeline.progress import say

    told = read_told(INGESTED, PRETRAIN, REPORTS, config.bundle.contact)
    shipped = Shipped(EXPORT, LINEAR_EVAL / "linear_probe.onnx", FINETUNE / "classifier.onnx")
    reference = reference_in(STORE, EXPORT / "backbone.onnx")
    if reference is not None and not reference.resembles_training:
        say(
            "bundle: the validation images differ from the training images. `ssl-pipeline drift` compares with "
            "validation images, so images like the training images may raise an alarm; see docs/deploy.md."
        )
    names = write_bundle(BUNDLE, shipped, told, reference, triton=config.bundle.triton)
    say(f"bundle: {BUNDLE}, {len(names)} files; its verify.py verifies them on any machine")
