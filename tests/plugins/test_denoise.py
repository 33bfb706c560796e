"""Denoising: how images are corrupted, and that the reconstruction error is an energy, in the exported file too."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.augment.policy import Policies, Policy
from ssl_pipeline.data.store import open_split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.deployment.energy_graph import export_energy, prove_energy
from ssl_pipeline.deployment.runtime import open_session, read_metadata, run
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.evaluation.separation import separation
from ssl_pipeline.testing.material import make_step, small_encoder
from ssl_pipeline.types import UNIFORMS, Encoder
from ssl_pipeline_plugins.backbones.resnet_cifar import ResNetCifar
from ssl_pipeline_plugins.pretext.denoise import Denoise
from tests.factories import model_card

SIZE = 16


def make(**options: float) -> Denoise:
    torch.manual_seed(0)
    return Denoise(small_encoder(0), SIZE, **{"blur": 1.5, **options})


def digits(first: int, count: int) -> Tensor:
    """Return real digits (N, 3, 16, 16) in [0, 1]."""
    grey = torch.tensor(load_digits().images[first : first + count], dtype=torch.float32) / 16
    return F.interpolate(grey[:, None], size=SIZE, mode="bilinear").expand(-1, 3, -1, -1).contiguous()


@pytest.fixture(scope="module")
def trained() -> Denoise:
    torch.manual_seed(0)
    encoder = Encoder(ResNetCifar(depth=8, width=16), (0.3,) * 3, (0.35,) * 3)
    task, images = Denoise(encoder, SIZE, blur=1.5).train(), digits(0, 512)
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for step in range(120):
        batch = images[(64 * step) % 512 :][:64]
        views = {"plain": batch[:, None], UNIFORMS: torch.rand(64, task.uniforms, generator=generator)}
        loss = task.compare(task(views), make_step()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return task.eval()


def test_each_corruption_falls_on_a_third_of_the_images_and_is_what_it_says():
    head = make(noise=0.2).energy_head
    images = torch.full((900, 3, SIZE, SIZE), 0.5)
    images[:, :, :, 8:] = 0.7  # an edge, which blur softens and a block interrupts
    numbers = torch.rand(900, head.uniforms, generator=torch.Generator().manual_seed(0))
    changed = head.corrupt(images, numbers)
    kind = (numbers[:, 0] * 3).long()
    assert (kind.bincount() / 900 - 1 / 3).abs().max() < 0.05
    noise = (changed - images)[kind == 0]
    wanted = 0.2 * (0.25 + 0.75 * numbers[kind == 0, 1])
    assert (noise.std(dim=(1, 2, 3)) / wanted - 1).abs().max() < 0.2  # 768 numbers: 3%, plus the effect of clamping
    assert noise.mean().abs() < 0.002
    blurred = changed[kind == 1]
    assert torch.allclose(blurred[:, :, 0], blurred[:, :, 9])  # all lines are equal
    edge = blurred[:, 0, 0, 8] - blurred[:, 0, 0, 7]
    assert ((edge > 0.02) & (edge < 0.19)).all()
    blocked = (changed - images)[kind == 2][:, 0] != 0
    area = blocked.sum(dim=(1, 2)) / SIZE**2
    sides = 0.25 + 0.25 * numbers[kind == 2, 2]
    assert ((area - sides**2).abs() < 2.1 * sides / SIZE + 1 / SIZE**2).all()  # within one pixel per side
    assert (blocked.any(dim=1).sum(dim=1) - blocked.any(dim=2).sum(dim=1)).abs().max() <= 1  # blocks are squares


def test_the_loss_is_the_squared_error_of_the_corrected_image():
    task = make().eval()
    images = digits(0, 6)
    numbers = torch.rand(6, task.uniforms, generator=torch.Generator().manual_seed(1))
    numbers[0, 0] = 0.0  # this image stays uncorrupted
    with torch.no_grad():
        found = task.compare(task({"plain": images[:, None], UNIFORMS: numbers}), make_step())
        corrupted = torch.cat([images[:1], task.energy_head.corrupt(images, numbers[:, 1:])[1:]])
        errors = [
            ((task.predict(one[None])[0] - image) / 0.5).square().mean()
            for one, image in zip(corrupted, images, strict=True)
        ]
        energies = task.energy_head(task.encoder, corrupted)
    assert found.loss.item() == pytest.approx(torch.stack(errors).double().mean().item(), rel=1e-4)
    moved = ((task.predict(corrupted) - corrupted) / 0.5).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(energies, moved, rtol=1e-4, atol=1e-6)
    of_input = ((corrupted - images) / 0.5).square().mean()
    assert found.metrics["explained"].item() == pytest.approx(1 - found.loss.item() / of_input.item(), rel=1e-3)


def test_a_block_of_independent_values_stays_unknown():
    """Pixels behind a block of noise are independent of those around it, so that copying cannot reconstruct them."""
    task = make(clean=0.0).train()
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    for step in range(61):
        generator = torch.Generator().manual_seed(step)
        images = torch.rand(64, 1, 3, SIZE, SIZE, generator=generator)
        numbers = torch.rand(64, task.uniforms, generator=generator)
        numbers[:, 1] = 0.9  # only blocks
        output = task.compare(task({"plain": images, UNIFORMS: numbers}), make_step())
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    assert output.metrics["explained"].item() < 0.02


def test_clean_images_have_less_energy_than_corrupted_ones_in_the_exported_file(trained: Denoise, tmp_path: Path):
    card = model_card(embedding_dim=64, size=SIZE, background=(0, 0, 0), mean=(0.5,) * 3, std=(0.5,) * 3)
    path, head = tmp_path / "energy.onnx", trained.energy_head
    export_energy(trained.encoder, head, card, path, opset=18)
    session = open_session(path)
    assert [one.name for one in session.get_inputs()] == ["images"]
    assert read_metadata(session)["energy"] == "squared_reconstruction_error"
    assert "as images should be" in read_metadata(session)["output"]

    pixels = digits(1000, 300).mul(255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    with torch.no_grad():
        wanted = head(trained.encoder, torch.from_numpy(pixels[:7]).permute(0, 3, 1, 2) / 255).numpy()
    np.testing.assert_allclose(run(session, pixels[:7]), wanted, rtol=1e-4)
    originals = [pixels[0], pixels[1][:9], np.repeat(pixels[2], 2, axis=1)]
    assert prove_energy(path, trained.encoder, head, card, originals).max_difference < 1e-4
    with torch.no_grad():
        head.head.linear.bias[0] += 1.0
    with pytest.raises(PipelineError, match="torch and onnxruntime differ"):
        prove_energy(path, trained.encoder, head, card, originals)
    with torch.no_grad():
        head.head.linear.bias[0] -= 1.0

    write_split(tmp_path / "val", np.arange(300, dtype=np.uint64) * 2**40, [pixels], SIZE)
    views = {"plain": Policy.model_validate({"size": SIZE})}
    policies = Policies(seed=0, views=views)
    report = separation(path, open_split(tmp_path, "val"), policies, "plain", head)
    assert report["interval"][0] > 0.9  # on digits outside the training set
    assert report["images"] == 300
