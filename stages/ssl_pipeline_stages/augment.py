"""Write the augmentation policies as data, as ONNX graphs and as a preview, without decoding any image."""

from ssl_pipeline.config import Config
from ssl_pipeline_stages.command import stage
from ssl_pipeline_stages.paths import AUGMENTED, STORE


@stage
def augment(config: Config) -> None:
    """Write the augmentation policy, export its views as verified ONNX graphs, and draw a preview."""
    from ssl_pipeline.augment.policy import Policies, check_colours
    from ssl_pipeline.augment.preview import write_preview
    from ssl_pipeline.data.store import open_split
    from ssl_pipeline.deployment.view_graph import export_views
    from ssl_pipeline.products import atomic_folder, write_product
    from ssl_pipeline.progress import say
    from ssl_pipeline.recipes import suited
    from ssl_pipeline_stages.checks import check

    pool = open_split(STORE, "train")
    section = config.augment
    views = suited(check(config).views, section.views, pool.spec)
    check_colours(views, pool.spec)
    with atomic_folder(AUGMENTED) as folder:
        write_product(folder / "policy.json", Policies(seed=section.seed, views=views).model_dump(mode="json"))
        write_preview(STORE, views, section.seed, folder / "preview.png")
        for kind, policy in views.items():
            for number, each in enumerate(policy.each, 1):
                name = f"augment_{kind}.onnx" if number == 1 else f"augment_{kind}_{number}.onnx"
                export_views(each, pool.canvas, folder / name, pool.spec)
    say(f"augment: views {', '.join(views)}; {AUGMENTED / 'preview.png'} shows some")
