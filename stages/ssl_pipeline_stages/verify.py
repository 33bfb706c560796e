"""Not a stage: a bundle, checked by the code that lies in it as verify.py."""

import sys
from pathlib import Path

import click

from ssl_pipeline_stages.guarded import guarded
from ssl_pipeline_stages.paths import BUNDLE


@click.command()
@click.argument("bundle", default=BUNDLE, type=click.Path(path_type=Path))
@click.option(
    "--providers",
    default="cpu",
    show_default=True,
    help="onnxruntime's execution providers, the preferred one first, such as cuda,cpu or openvino.",
)
def verify(bundle: Path, providers: str) -> None:
    """Check BUNDLE, models/bundle unless another is named: its files by their checksums, its graphs by golden outputs.

    The exit status is 0 where all is well, 1 where the bundle is damaged or a graph computes something else here, and 2
    where there is no bundle or no such provider.
    """
    sys.exit(guarded(lambda: _verify(bundle, providers)))


def _verify(bundle: Path, providers: str) -> None:
    from ssl_pipeline.bundle.verify import BundleError, NotHereError, verify
    from ssl_pipeline.errors import ConfigError, PipelineError

    try:
        verify(bundle, providers, click.echo)
    except NotHereError as error:
        raise ConfigError(str(error)) from error
    except BundleError as error:
        raise PipelineError(str(error)) from error
    click.echo("ok")
