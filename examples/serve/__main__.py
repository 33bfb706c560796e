"""Serve an exported backbone over HTTP: `python examples/serve --model models/export/backbone.onnx`."""

import signal
import sys
from pathlib import Path
from typing import Any

import click
import uvicorn

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.ranks import available_cores

PATH = click.Path(path_type=Path)
SOME = click.IntRange(min=1)


@click.command(context_settings={"auto_envvar_prefix": "SERVE", "show_default": True}, help=__doc__)
@click.option("--model", type=PATH, default=Path("models/export/backbone.onnx"), help="Exported backbone.")
@click.option("--classifier", type=PATH, help="classifier.onnx or linear_probe.onnx, for /classify.")
@click.option("--index", type=PATH, help="Table written by `ssl-pipeline embed`, for /neighbours.")
@click.option("--provider", type=click.Choice(["auto", "cpu", "cuda", "openvino"]), default="auto")
@click.option("--threads", type=SOME, help="CPU threads of the model; by default, onnxruntime decides.")
@click.option("--decoders", type=SOME, default=available_cores(), help="Processes that decode images.")
@click.option("--max-bytes", type=SOME, default=16 * 2**20, help="Largest body of a request, in bytes.")
@click.option("--max-images", type=SOME, default=32, help="Largest number of images in a request.")
@click.option("--max-megapixels", type=click.FloatRange(0, min_open=True), default=25.0, help="Largest image.")
@click.option("--max-requests", type=SOME, default=64, help="Largest number in flight; others are answered with 503.")
@click.option("--batch", type=SOME, default=32, help="Largest number of images in a batch.")
@click.option("--wait-ms", type=click.FloatRange(0), default=2.0, help="Time that a batch waits for more images.")
@click.option("--patience", type=click.FloatRange(0, min_open=True), default=30.0, help="Seconds for a body to arrive.")
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="0 chooses a free port and prints it.")
@click.option("--grace", type=SOME, default=30, help="Seconds that requests in flight get after SIGTERM.")
def main(host: str, port: int, grace: int, **settings: Any) -> None:
    # uvicorn shuts down by itself, and then raises the signal again: exit with 0 at that point
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    from app import build
    from settings import Settings

    try:
        app = build(Settings(**settings))
    except PipelineError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    # a proxy in front of the service logs requests; uvicorn prints the port
    uvicorn.run(
        app, host=host, port=port, access_log=False, http="h11", ws="none", timeout_graceful_shutdown=grace, backlog=512
    )


if __name__ == "__main__":
    main()
