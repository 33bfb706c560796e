"""The trained encoder as one verified ONNX file, from pixels to embedding."""

from functools import partial

from ssl_pipeline.config import Config
from ssl_pipeline_stages.command import stage
from ssl_pipeline_stages.paths import AUGMENTED, EXPORT, PRETRAIN, REPORTS, STORE


@stage
def export(config: Config) -> None:
    """Export the encoder as verified ONNX files, and the variants that pass the export gate."""
    from ssl_pipeline.artifacts.card import read_card
    from ssl_pipeline.artifacts.files import load_task
    from ssl_pipeline.curation.thresholds import find_thresholds
    from ssl_pipeline.deployment.release import headline, in_short, read_evidence, release
    from ssl_pipeline.deployment.variants import read_pool, ship_variants
    from ssl_pipeline.evaluation.separation import separation
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.operations import load_policies
    from ssl_pipeline.products import atomic_folders, write_json
    from ssl_pipeline.progress import say
    from ssl_pipeline_stages.reference import command

    registry = load_registry()
    policies, evidence = load_policies(registry, AUGMENTED / "policy.json"), read_evidence(STORE)
    pool = read_pool(STORE)
    task, card = load_task(registry, PRETRAIN), read_card(PRETRAIN)
    origin = {"data_sha256": pool.train.sha256} | ({"licence": config.export.licence} if config.export.licence else {})
    calibrate = partial(find_thresholds, pool=pool.train, held_out=pool.val)
    with atomic_folders(EXPORT, REPORTS / "export") as (folder, reports):
        report = release(folder, task, card, config.export, evidence, command(PRETRAIN), PRETRAIN, origin, calibrate)
        report["variants"] = ship_variants(folder, config.export, pool, calibrate)
        apart = separation(folder / "energy.onnx", pool.val, policies, task.views.main, task.energy_head)
        report["energy"] = {**apart, **report["energy"]}
        write_json(reports / "details.json", report)
        write_json(reports / "metrics.json", headline(report))
    say("export: " + ", ".join(f"{name} {value:.6g}" for name, value in in_short(report).items()))
