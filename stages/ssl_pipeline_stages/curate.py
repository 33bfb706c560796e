"""Findings about the images themselves from the exported backbone's embeddings, with or without labels."""

from ssl_pipeline.config import Config
from ssl_pipeline_stages.command import stage
from ssl_pipeline_stages.paths import EXPORT, REPORTS, STORE


@stage
def curate(config: Config) -> None:
    """Find duplicate, unusual and mislabelled images, and write a line about each image."""
    from ssl_pipeline.curation.catalogue import read_catalogue
    from ssl_pipeline.curation.study import study_images
    from ssl_pipeline.evaluation.report import write_report
    from ssl_pipeline.products import atomic_folder
    from ssl_pipeline.progress import say

    found = study_images(config.curate, read_catalogue(STORE, EXPORT / "backbone.onnx"))
    with atomic_folder(REPORTS / "curate") as report:
        write_report(report, found)
    for line in found.lines:
        say(line)
