"""The option --provider of all commands that run an exported file."""

import click

__all__ = ["PROVIDERS", "provider_option"]

PROVIDERS = ("auto", "cpu", "cuda", "openvino")
"""Execution providers, as in `ssl_pipeline.deployment.execution`, which is not imported here because `--help` would
have to wait for onnxruntime."""

provider_option = click.option(
    "--provider",
    default="auto",
    type=click.Choice(PROVIDERS),
    show_default=True,
    help="Execution provider of the model; auto: CUDA if it works, else the CPU.",
)
