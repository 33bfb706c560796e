"""Turn a collection of images into a store of equally sized canvases that depends on no view and no method."""

from contextlib import nullcontext
from typing import TYPE_CHECKING

from ssl_pipeline import ranks
from ssl_pipeline.config import Config
from ssl_pipeline_stages.command import stage
from ssl_pipeline_stages.paths import INGESTED, INVENTORY, REPORTS, hashes, work

if TYPE_CHECKING:
    from ssl_pipeline.data.decode import Canvas


@stage
def ingest(config: Config) -> None:
    """Decode the images once, find copies, and split the images."""
    from ssl_pipeline.data.decode import Canvas
    from ssl_pipeline.data.filling import help_to_fill
    from ssl_pipeline_stages import code

    section = config.ingest
    shape = section.canvas, section.resize, section.background, section.min_side, section.max_megapixels
    canvas = Canvas(*shape, section.pixels)
    with ranks.joined():
        if ranks.leads():
            _lead(config, canvas)
        else:
            help_to_fill(code.source(config), canvas)


def _lead(config: Config, canvas: "Canvas") -> None:
    from ssl_pipeline.data.ingest import Shares
    from ssl_pipeline.data.ingest import ingest as write_store
    from ssl_pipeline.data.inventory import unchanged
    from ssl_pipeline.data.source_contract import open_images
    from ssl_pipeline.data.spool import resumable
    from ssl_pipeline.products import atomic_folder, write_json
    from ssl_pipeline.progress import say
    from ssl_pipeline_stages import code
    from ssl_pipeline_stages.checks import check, check_pile

    built = check(config)
    section, reports = config.ingest, REPORTS / "ingest"
    shares = Shares(section.seed, section.val_fraction, section.test_fraction, section.max_reject_fraction)
    source, chosen = code.source(config), section.source.model_dump(mode="json")
    images = open_images(source)  # before anything is compared, as opening a source may download it
    check_pile(config, built, images.records)
    # without an inventory (a run by hand), nothing tells whether files have changed, so nothing can be resumed
    decoded = resumable(work() / "ingest", code.decoding(canvas)) if INVENTORY.exists() else nullcontext()
    with decoded as begun, atomic_folder(INGESTED) as folder, unchanged(source, chosen, INVENTORY, hashes()):
        manifest = write_store(images, folder, canvas, shares, reports, source=chosen, begun=begun)
    write_json(reports / "details.json", manifest["counts"])
    say("ingest: " + ", ".join(f"{key} {value:,}" for key, value in manifest["counts"].items()))
    for warning in manifest["warnings"]:
        say(f"ingest: {warning}")
