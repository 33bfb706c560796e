"""From any pile of images to a store of equal canvases, and the views that are made of them."""

from ssl_pipeline.config import RECIPE, Config
from stages.command import stage
from stages.paths import AUGMENTED, INVENTORY, REPORTS, hashes


@stage
def augment(config: Config) -> None:
    """Decode the images once, share them out into splits, and say what views are made of them."""
    from ssl_pipeline.augment.policy import Policies, check_colours
    from ssl_pipeline.augment.preview import write_preview
    from ssl_pipeline.data.decode import Canvas
    from ssl_pipeline.data.image_spec import ImageSpec
    from ssl_pipeline.data.ingest import Shares, ingest
    from ssl_pipeline.data.inventory import unchanged
    from ssl_pipeline.data.sources import open_source
    from ssl_pipeline.deployment.view_graph import export_views
    from ssl_pipeline.products import atomic_folder, write_json, write_product
    from ssl_pipeline.progress import say
    from stages.check import check

    views = check(config)
    section, reports = config.augment, REPORTS / "augment"
    shape = section.canvas, section.resize, section.background, section.min_side, section.max_megapixels
    canvas = Canvas(*shape, section.pixels)
    shares = Shares(section.seed, section.val_fraction, section.test_fraction, section.max_reject_fraction)
    chosen = section.source.name, section.source.options
    source = open_source(*chosen)  # before anything is compared: torchvision downloads what is not there
    with atomic_folder(AUGMENTED) as folder, unchanged(*chosen, INVENTORY, hashes()):
        manifest = ingest(source, folder, canvas, shares, reports)
        spec = ImageSpec.model_validate(manifest["images"])
        if spec.rgb is None:  # what a recipe does to colours is left out, what params.yaml asks for is refused
            left = [kind for kind in views if isinstance(section.views, str) or section.views[kind] == RECIPE]
            views |= {kind: views[kind].without_colours() for kind in left}
        check_colours(views, spec)
        resolved = {name: getattr(section, name) for name in Policies.model_fields}
        resolved |= {"background": manifest["background"], "views": views}
        write_product(folder / "policy.json", Policies.model_validate(resolved).model_dump(mode="json"))
        write_preview(folder / "store", views, section.seed, folder / "preview.png")
        for kind, policy in views.items():
            for number, each in enumerate(policy.each, 1):
                name = f"augment_{kind}.onnx" if number == 1 else f"augment_{kind}_{number}.onnx"
                export_views(each, section.canvas, folder / name, spec)
    write_json(reports / "metrics.json", manifest["counts"])
    say("augment: " + ", ".join(f"{key} {value:,}" for key, value in manifest["counts"].items()))
    for warning in manifest["warnings"]:
        say(f"augment: {warning}")


if __name__ == "__main__":
    augment()
