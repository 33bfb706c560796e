"""Speed and reproducibility on a GPU: `python -m benchmarks.gpu [views] [loss] [steps] [recipes]`.

- `views`: views per second of SimCLR's policy, ours relative to kornia's, both on whole batches on the device; and
  whether any value differs between chunk sizes or between two runs.
- `loss`: NT-Xent's sums in tiles, relative to a dense matrix, forward and backward; and the memory of each.
- `steps`: a run of SimCLR with a ResNet-18, views included, relative to bare steps on views that are ready, in fp32 and
  in the precision that `auto` selects; images per second, peak memory, and where a run waits for the device.
- `recipes`: each recipe takes twelve steps on digits, once without interruption, and once stopped halfway and resumed;
  whether both end with identical weights, and the loss of the first step on the GPU and on the CPU.

Without arguments, all four parts run. The output is JSON lines. The script exits at once if there is no GPU.
"""

import json
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import torch
import yaml
from torch import Tensor

from benchmarks import tiles
from benchmarks.interleaved import faster, machine
from benchmarks.peer import Ours
from benchmarks.project import OF_CLIPS, READ_CAPTIONS, ROOT, copy_project, needs
from benchmarks.stage import stage
from benchmarks.views import canvases, kornia, policy
from ssl_pipeline.artifacts.assembly import needed_views
from ssl_pipeline.augment import maker
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.config import PretrainSection, load
from ssl_pipeline.data.store import Split, open_split
from ssl_pipeline.loading import load_registry
from ssl_pipeline.randomness import hash64
from ssl_pipeline.recipes import Method, method_of
from ssl_pipeline.training import pretraining
from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.optimization import build_optimizer
from ssl_pipeline.training.precision import Precision, best_device, resolve_precision
from ssl_pipeline.training.preparation import build
from ssl_pipeline.training.run import Run
from ssl_pipeline_stages.paths import STORE

SIDES = {32: 1024, 96: 512, 224: 256}
"""Side of the views in px -> images per batch."""
STEPS = 12
CHUNKS = (2**20, 2**23)
UPRIGHT = {"size": 16, "random_resized_crop": {"p": 1.0, "scale": [0.7, 1.0], "ratio": [0.85, 1.18]}}
BACKBONE = {"name": "resnet_cifar", "depth": 8, "width": 16}
CPU = torch.device("cpu")


def tell(**line: object) -> None:
    print(json.dumps(line), flush=True)


def waiting(run: Callable[[], object]) -> Callable[[], None]:
    """Return a function that calls `run` and then waits until the device has finished."""

    def whole() -> None:
        run()
        torch.cuda.synchronize()

    return whole


@contextmanager
def counted_waits() -> Iterator[Counter[str]]:
    """Count the waits for the device by their place in the code, from torch's warnings."""
    found: Counter[str] = Counter()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            yield found
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found.update(f"{Path(each.filename).name}:{each.lineno}" for each in told if "synchron" in str(each.message))


def compare_views(device: torch.device) -> None:
    for side, count in SIDES.items():
        images = canvases(side, count).to(device)
        ids, ours = np.arange(count, dtype=np.uint64), {"global": policy(side)}

        def run(images: Tensor = images, ids: Any = ids, ours: Any = ours) -> Tensor:
            return make_views(ours, {"global": 2}, images, ids, 0, 0)["global"]

        made = run()
        with counted_waits() as waits:
            again = run()
        different = int((made != again).sum())
        for values in CHUNKS:
            with patch.object(maker, "CHUNK_VALUES_OF_DEVICES", values):
                different += int((made != run()).sum())
        beside = make_views(ours, {"global": 2}, images.cpu(), ids, 0, 0)["global"]
        line = {
            "side": side,
            "images": count,
            "different_values": different,
            "from_cpu": float((beside - made.cpu()).abs().max()),
            "waits": dict(waits),
        }
        try:
            theirs = kornia(images)
        except ModuleNotFoundError as error:
            tell(what="views", **line, skipped=f"{error.name} is not installed")
            continue
        found = faster(waiting(run), waiting(lambda theirs=theirs: (theirs(), theirs())), 9)  # two views each
        per_second = {name: round(2 * count / seconds) for name, seconds in found["s"].items()}
        tell(what="views, ours to kornia", **line, **found, views_per_second=per_second)


def compare_losses(device: torch.device) -> None:
    for rows in (512, 2048, 8192, 32768):
        anchors, samples = (each.detach().to(device) for each in tiles.embeddings(rows))
        anchors.requires_grad_()
        losses = {"tiled": tiles.tiled, "dense": tiles.dense}
        memory = {}
        for name, loss in losses.items():
            tiles.step(loss, anchors, samples)
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            tiles.step(loss, anchors, samples)
            memory[name] = round((torch.cuda.max_memory_allocated() - before) / 2**20, 1)
        runs = [waiting(partial(tiles.step, loss, anchors, samples)) for loss in losses.values()]
        found = faster(runs[1], runs[0], 20)  # tiled to dense, as benchmarks.tiles has it
        tell(what="time of the loss, tiled to dense", rows=rows, **found, mebibytes=memory)


def compare_steps(device: torch.device, steps: int = 48) -> None:
    with patch.object(pretraining, "LOGGED_ROWS", 1):  # a run logs 50 rows, too many for so few steps
        _compare_steps(steps)


def _compare_steps(steps: int) -> None:
    for side, batch in {32: 512, 96: 256, 224: 128}.items():
        canvas = side * 8 // 7
        images = canvases(min(canvas, 256), batch).numpy()
        ids = np.sort(hash64(0, np.arange(batch * steps, dtype=np.uint64), "image"))
        pool = Split("train", images.shape[1], ids, (0.5,) * 3, (0.25,) * 3, "", (np.tile(images, (steps, 1, 1, 1)),))
        for precision in ("fp32", "auto"):
            ours = Ours(pool, side, batch, steps, precision)
            ours.go()
            ready = ours.bare(steps)
            torch.cuda.reset_peak_memory_stats()
            ready()
            bare_memory = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            with counted_waits() as waits:
                ours.go()
            whole_memory = torch.cuda.max_memory_allocated()
            found = faster(waiting(ready), waiting(ours.go), 3)  # the time of the whole run relative to bare steps
            per_second = {"bare": batch * steps / found["s"]["ours"], "whole": batch * steps / found["s"]["theirs"]}
            tell(
                what="whole run of a ResNet-18, to bare steps",
                side=side,
                batch=batch,
                precision=ours.precision.name,
                **found,
                images_per_second={name: round(value) for name, value in per_second.items()},
                memory=round(whole_memory / bare_memory, 3),
                gigabytes=round(whole_memory / 1e9, 2),
                waits_of_a_run=dict(waits.most_common(12)),
                steps=steps,
            )


def digits(folder: Path) -> Split:
    """Return the bundled digits as the default run ingests them."""
    copy_project(folder)
    stage(folder, "ingest", 1)
    return open_split(folder / STORE, "train")


class StoppedError(Exception):
    """Simulates a killed process."""


def compare_recipes(device: torch.device) -> None:
    registry, section = load_registry(), load(ROOT / "params.yaml").pretrain.model_dump()
    policies = {
        "global": Policy.model_validate(
            yaml.safe_load((ROOT / "params.yaml").read_text())["augment"]["views"]["global"]
        ),
        "upright": Policy.model_validate(UPRIGHT),
        "plain": Policy.model_validate(UPRIGHT),
    }
    with tempfile.TemporaryDirectory() as scratch:
        pool = digits(Path(scratch) / "digits")
        for recipe in registry.names("recipe"):
            if recipe in (*READ_CAPTIONS, *OF_CLIPS):
                continue
            own = {"recipe": recipe, "backbone": BACKBONE, "epochs": 3, "batch_size": 256, "on_collapse": "warn"}
            values = section | own | {"pretext_task": {}} | needs("upright").get(recipe, {})
            try:
                method = method_of(registry, PretrainSection.model_validate(values))
                tell(what="recipe", recipe=recipe, **judge(registry, method, pool, policies, device, Path(scratch)))
            except Exception as error:  # continue with the other recipes
                tell(what="recipe", recipe=recipe, failed=f"{type(error).__name__}: {error}"[:600])


def judge(
    registry: Any, method: Method, pool: Split, policies: dict[str, Policy], device: torch.device, scratch: Path
) -> dict[str, Any]:
    """Train a recipe on the device without interruption, on the device with a stop halfway, and on the CPU.

    Returns:
        The weights that differ after resuming, and the loss of the first row of the curves on either device.
    """
    kinds = needed_views(registry, method.recipe.pretext_task).counts
    wanted = {kind: policies.get(kind, policies["global"]) for kind in kinds}

    def learn(device: torch.device, until: int, folder: Path) -> tuple[dict[str, Tensor], float]:
        task = build(registry, method.recipe, method.pretrain, pool, wanted)
        optimizer = partial(build_optimizer, registry, method.pretrain.optimizer)
        checkpoints = Checkpoints(folder, "f" * 64, {})
        precision, losses = Precision("fp32", device), []
        note = Run.save_if_due

        def stop(run: Any, done: int, *rest: Any) -> None:
            note(run, done, *rest)
            if done == until:
                run.save(done)
                raise StoppedError

        with patch.object(Run, "save_if_due", stop), suppress(StoppedError):
            losses = pretraining.train(task, pool, wanted, method.pretrain, optimizer, precision, checkpoints).rows
        return {name: value.cpu() for name, value in task.state_dict().items()}, losses[0]["loss"] if losses else np.nan

    whole, first = learn(device, 0, scratch / f"{method.recipe.name}-whole")
    parts = scratch / f"{method.recipe.name}-parts"
    learn(device, STEPS // 2, parts)
    resumed, _ = learn(device, 0, parts)
    _, beside = learn(CPU, 0, scratch / f"{method.recipe.name}-cpu")
    different = [name for name in whole if not torch.equal(whole[name], resumed[name])]
    return {"differ_after_resume": different, "first_loss": first, "first_loss_on_cpu": beside}


PARTS = {"views": compare_views, "loss": compare_losses, "steps": compare_steps, "recipes": compare_recipes}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(sorted(PARTS)))
def main(parts: tuple[str, ...]) -> None:
    """Print the speed and reproducibility of PARTS on a GPU."""
    device = best_device()
    if device.type == "cpu":
        raise SystemExit("no GPU found: run this benchmark on a machine with a GPU")
    bf16 = resolve_precision("auto", device).name
    tell(machine=machine(), device=torch.cuda.get_device_name(device), auto=bf16)
    for name in parts or PARTS:
        PARTS[name](device)


if __name__ == "__main__":
    main()
