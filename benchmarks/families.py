"""Test networks of timm's families with the pipeline: `python -m benchmarks.families`.

A small network of each family is built with random weights for images of 64 px. It takes one training step on crops of
photographs, is exported as in the stage export, and is compared with torch on other crops, of several shapes. (Noise is
unsuitable: with batch-norm statistics of photographs, deep networks with random weights amplify noise until torch in
float32 differs from torch in float64.) Then its int8 variant is made and judged as in that stage. The networks are
tested one after the other, each in a new process with limited memory and time. `--table` writes the rows into a page.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from benchmarks.interleaved import machine
from benchmarks.large_photographs import describe
from benchmarks.project import ROOT, environment
from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.config import Choice, load
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.deployment.bounds import REHEARSAL
from ssl_pipeline.deployment.from_pixels import FromPixels, embedding
from ssl_pipeline.deployment.proof import compare, in_torch
from ssl_pipeline.deployment.variants import Pool, ship_variants
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.export_config import file_name
from ssl_pipeline.loading import load_registry
from ssl_pipeline.terminal import brief

SIZE, MEMORY, SECONDS = 64, 6 * 2**30, 300
MEAN, STD = (0.5,) * 3, (0.25,) * 3
TRAIN, VAL = 64, 160
COLUMNS = ("family", "network", "px", "D", "MB", "s", "difference", "equal to torch")
INT8_COLUMNS = ("int8", "mean cosine", "recall@10", "size", "ships")
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


def crops(count: int, shape: tuple[int, int], seed: int) -> npt.NDArray[np.uint8]:
    """Return square crops of two photographs, of 32 to 240 px, resized to a shape (H, W): (count, H, W, 3)."""
    generator = np.random.default_rng(seed)
    photographs = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    found = []
    for number in range(count):
        photograph, side = photographs[number % 2], int(generator.integers(32, 241))
        left, top = (int(generator.integers(0, whole - side)) for whole in photograph.size)
        box = (left, top, left + side, top + side)
        found.append(np.asarray(photograph.resize(shape[::-1], Image.Resampling.BILINEAR, box)))
    return np.stack(found)


def pool(size: int) -> Pool:
    """Return images that calibrate the int8 variant, and others on which it is judged."""

    def split(name: str, images: npt.NDArray[np.uint8]) -> Split:
        return Split(name, size, np.arange(len(images), dtype=np.uint64), MEAN, STD, name, (images,))

    return Pool(split("train", crops(TRAIN, (size, size), 0)), split("val", crops(VAL, (size, size), 1)), ())


def pass_through(model: str) -> Iterator[dict[str, Any]]:
    """Build, train, export and compare a network; yield the figures so far after each step."""
    found: dict[str, Any] = {"model": model, "reached": "nothing"}
    yield found
    torch.manual_seed(0)
    choice = Choice(name=f"timm/{model}")
    size = 70 if "patch14" in model else SIZE
    encoder = build_encoder(load_registry(), choice, MEAN, STD, 0, size)
    yield (found := found | {"reached": "built", "size": size, "dim": encoder.embedding_dim})
    for module in encoder.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # no moving average: one step suffices for the statistics
    images = pool(size)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1e-3)
    batch = torch.from_numpy(images.train.images(np.arange(16))).permute(0, 3, 1, 2) / 255
    embeddings = encoder.train()(batch)
    (embeddings - embeddings.roll(1, 0)).square().mean().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    yield (found := found | {"reached": "trained"})
    card = describe(encoder, choice, size)
    with tempfile.TemporaryDirectory() as folder:
        path, began = Path(folder, file_name("fp32")), time.process_time()
        export_backbone(encoder.eval(), card, path, l2_normalize=True, opset=18)
        figures = {"seconds": round(time.process_time() - began, 1), "MB": round(path.stat().st_size / 1e6, 1)}
        yield (found := found | {"reached": "exported"} | figures)
        shapes = {(size, size): 2, (200, 150): 1, (33, 50): 3}
        batches = {str(shape): (crops(count, shape, 2),) for shape, count in shapes.items()}
        proof = compare(path, in_torch(FromPixels(card, embedding(encoder, True)).eval()), batches, REHEARSAL)
        found |= {"max_difference": float(f"{proof.max_difference:.1e}")}
        yield (found := found | ({} if proof.broken("") else {"reached": "equal"}))
        section = load(ROOT / "params.yaml").export.model_copy(update={"variants": ["fp32", "int8"]})
        yield found | {"int8": ship_variants(Path(folder), section, images)["int8"]}


def attempt(model: str) -> None:
    """Print how far a network gets, as JSON lines; the last line is the result."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    found: dict[str, Any] = {}
    try:
        for found in pass_through(model):
            print(json.dumps(found), flush=True)
    except PipelineError as error:
        print(json.dumps(found | {"reason": brief(error)}), flush=True)
    except Exception as error:  # whatever a library raises: report its first cause as the reason
        bottom: BaseException = error
        while bottom.__cause__ is not None:
            bottom = bottom.__cause__
        print(json.dumps(found | {"reason": brief(bottom)}), flush=True)
        raise


def ended(model: str) -> dict[str, Any]:
    """Test a network in a new process; return its last figures, with the reason if it stopped early."""
    words = [sys.executable, "-m", "benchmarks.families", "--one", model]
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        late = False
        try:
            code = subprocess.run(
                words, cwd=ROOT, env=environment(), check=False, stdout=said, stderr=errors, timeout=SECONDS
            ).returncode
        except subprocess.TimeoutExpired:
            late, code = True, 1
        said.seek(0)
        errors.seek(0)
        lines = [line for line in said if line.startswith("{")]
        found: dict[str, Any] = json.loads(lines[-1]) if lines else {"model": model, "reached": "nothing"}
        if code and "reason" not in found:
            found["reason"] = f"took more than {SECONDS} s" if late else brief(errors.read()[-300:])
    return found


def row(family: str, found: dict[str, Any]) -> str:
    """Return a row of the page's table."""
    figures = [found.get(key, "") for key in ("size", "dim", "MB", "seconds", "max_difference")]
    reason = found.get("reason", "")
    state = "yes" if found["reached"] == "equal" else f"{found['reached']}, no further: {reason}"
    if "max_difference" in found and state != "yes":
        state = "no"
    cells = [family, f"`timm/{found['model']}`", *map(str, figures), state]
    int8 = found.get("int8", {})
    gate = int8.get("gate", {})
    unmade = reason if found["reached"] == "equal" else ""
    cells.append(int8.get("made", {}).get("activations", "" if int8 else unmade))
    cells += [f"{gate[key]:.3f}" if key in gate else "" for key in ("mean_cosine", "recall", "size")]
    broken = int8.get("broken", [])
    if gate:  # the figures are in the cells before, so the names of the broken bounds suffice
        broken = [line.split(":")[0].removeprefix("min_").removeprefix("max_").replace("_", " ") for line in broken]
    cells.append("yes" if int8.get("ships") else ", ".join(broken).replace("\n", " "))
    return _line(cells)


def summary(reached: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Count the networks whose file is equal to torch, whose int8 variant runs, and whose int8 variant ships."""
    variants = [found.get("int8", {}) for found in reached]
    return {
        "equal": sum(found["reached"] == "equal" for found in reached),
        "int8": sum("gate" in variant for variant in variants),
        "int8_ships": sum(variant.get("ships", False) for variant in variants),
    }


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def into_table(page: Path, family: str, line: str) -> None:
    """Replace the row of a family in a page that ends with the table; other rows stay."""
    text, _, old = page.read_text(encoding="utf-8").partition("| family |")
    rows = {one.split("|")[1].strip(): one for one in old.splitlines()[2:]} | {family: line}
    columns = (*COLUMNS, *INT8_COLUMNS)
    head = [_line(columns), "|" + "---|" * len(columns)]
    page.write_text(
        text + "\n".join([*head, *(rows[name] for name in FAMILIES if name in rows)]) + "\n", encoding="utf-8"
    )


@click.command()
@click.argument("families", nargs=-1)
@click.option("--one", hidden=True)
@click.option("--table", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Page with the table.")
def main(families: tuple[str, ...], one: str | None, table: Path | None) -> None:
    """Print a line for each of FAMILIES, or for all families."""
    if one:
        attempt(one)
        return
    unknown = [family for family in families if family not in FAMILIES]
    if unknown:
        raise click.UsageError(f"unknown family: {', '.join(unknown)}. Choose from: {', '.join(FAMILIES)}.")
    print(json.dumps(machine() | {"date": time.strftime("%Y-%m-%d")}), flush=True)
    reached = []
    for family in families or FAMILIES:
        found = ended(FAMILIES[family])
        reached.append(found)
        print(json.dumps({"what": "family", "family": family} | found), flush=True)
        if table:
            into_table(table, family, row(family, found))
    print(json.dumps({"what": "families"} | summary(reached)), flush=True)


if __name__ == "__main__":
    main()
