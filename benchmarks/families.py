"""Families of timm's networks through the pipeline: `python -m benchmarks.families`.

The smallest network of each family is built with random weights for images of 64 px, takes one step of training, is
exported as the stage export does, and is held against torch on random images of several shapes. Each has a process of
its own, one after the other, whose memory is bounded. `--table` writes docs/families.md.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.large_photographs import describe
from benchmarks.project import ROOT, environment
from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.config import Choice
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.deployment.bounds import REHEARSAL
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.deployment.proof import compare, in_torch
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.terminal import brief

SIZE, MEMORY = 64, 6 * 2**30
FAMILIES = {
    "ResNet": "resnet18",
    "ResNeXt": "resnext26ts",
    "DenseNet": "densenet121",
    "MobileNet v3": "mobilenetv3_small_050",
    "EfficientNet v2": "efficientnetv2_rw_t",
    "RegNet": "regnetx_002",
    "ConvNeXt v2": "convnextv2_atto",
    "ViT": "vit_tiny_patch16_224",
    "DeiT 3": "deit3_small_patch16_224",
    "DINOv2's ViT with registers": "vit_small_patch14_reg4_dinov2",
    "EVA-02": "eva02_tiny_patch14_224",
    "Swin v2": "swinv2_cr_tiny_224",
    "MLP-Mixer": "mixer_s32_224",
    "MaxViT": "maxvit_rmlp_pico_rw_256",
    "LeViT": "levit_128s",
    "PoolFormer": "poolformer_s12",
    "FastViT": "fastvit_t8",
    "MobileOne": "mobileone_s0",
    "RepVGG": "repvgg_a0",
    "EdgeNeXt": "edgenext_xx_small",
    "GhostNet": "ghostnet_050",
    "NFNet": "nf_regnet_b0",
    "MobileViT": "mobilevit_xxs",
}


def pass_through(model: str) -> dict[str, Any]:
    """Take a network from its name to its file; return how far it came, and its figures."""
    found: dict[str, Any] = {"model": model, "reached": "nothing"}
    torch.manual_seed(0)
    choice = Choice(name=f"timm/{model}")
    size = 70 if "patch14" in model else SIZE
    encoder = build_encoder(load_registry(), choice, (0.5,) * 3, (0.25,) * 3, 0, size)
    found |= {"reached": "built", "size": size, "parameters": sum(one.numel() for one in encoder.parameters())}
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1e-3)
    embeddings = encoder.train()(torch.rand(4, 3, size, size))
    (embeddings - embeddings.roll(1, 0)).square().mean().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    found |= {"reached": "trained", "dim": encoder.embedding_dim}
    card, generator = describe(encoder, choice, size), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path, began = Path(folder, "backbone.onnx"), time.process_time()
        export_backbone(encoder.eval(), card, path, l2_normalize=False, opset=18)
        found |= {"reached": "exported", "seconds": round(time.process_time() - began, 1)}
        found |= {"MB": round(path.stat().st_size / 1e6, 1)}
        shapes = ((2, size, size, 3), (1, 200, 150, 3), (3, 33, 50, 3))
        batches = {str(shape): (generator.integers(0, 256, shape).astype(np.uint8),) for shape in shapes}
        proof = compare(path, in_torch(FromPixels(card, encoder).eval()), batches, REHEARSAL)
    found |= {"max_difference": float(f"{proof.max_difference:.1e}")}
    return found | ({"reached": "equal"} if not proof.broken("") else {})


def attempt(model: str) -> None:
    """Print what becomes of a network as a JSON line."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    try:
        found = pass_through(model)
    except PipelineError as error:
        found = {"model": model, "reached": "refused", "reason": brief(error)}
    print(json.dumps(found), flush=True)


def row(family: str, found: dict[str, Any]) -> str:
    """Return a row of the page's table."""
    figures = [found.get(key, "") for key in ("size", "dim", "MB", "seconds", "max_difference")]
    state = "yes" if found["reached"] == "equal" else f"{found['reached']}: {found.get('reason', '')}"
    return "| " + " | ".join([family, f"`timm/{found['model']}`", *map(str, figures), state]) + " |"


@click.command()
@click.argument("families", nargs=-1)
@click.option("--one", hidden=True)
@click.option("--table", type=click.Path(path_type=Path, dir_okay=False), help="A page whose table is written anew.")
def main(families: tuple[str, ...], one: str | None, table: Path | None) -> None:
    """Print a line for each of FAMILIES, or for all."""
    if one:
        attempt(one)
        return
    rows = []
    for family in families or FAMILIES:
        words = [sys.executable, "-m", "benchmarks.families", "--one", FAMILIES[family]]
        done = subprocess.run(words, cwd=ROOT, env=environment(), check=False, capture_output=True, text=True)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        failed = {"model": FAMILIES[family], "reached": "failed", "reason": brief(done.stderr[-200:])}
        found = json.loads(lines[-1]) if lines else failed
        print(json.dumps({"family": family} | found), flush=True)
        rows.append(row(family, found))
    if table:
        head = [
            "| family | network | px | D | MB | s to export | difference | equal to torch |",
            "|---|---|---|---|---|---|---|---|",
        ]
        text = table.read_text(encoding="utf-8").split("| family |")[0]
        table.write_text(text + "\n".join([*head, *rows]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
