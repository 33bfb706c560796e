"""The option of all commands that run an exported file: on which execution provider."""

import click

__all__ = ["PROVIDERS", "provider_option"]

PROVIDERS = ("auto", "cpu", "cuda", "openvino")
"""Those of `ssl_pipeline.deployment.execution`, whose import would make `--help` wait for onnxruntime."""

provider_option = click.option(
    "--provider",
    default="auto",
    type=click.Choice(PROVIDERS),
    show_default=True,
    help="What runs the model: auto takes CUDA where it works, and the CPU elsewhere.",
)
