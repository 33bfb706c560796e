"""Check a bundle with the code that it contains as verify.py; not a stage."""

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
    help="Execution providers of onnxruntime, the preferred one first, such as cuda,cpu or openvino.",
)
def verify(bundle: Path, providers: str) -> None:
    """Check the files of BUNDLE (default: models/bundle) by their checksums and its graphs by golden outputs.

    The exit status is 0 if all checks pass, 1 if the bundle is damaged or a graph computes something else on this
    machine, and 2 if there is no bundle or no such provider.
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
