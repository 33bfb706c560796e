"""Colorization: its colour space against the CIE's formulae, its loss against the paper's, and grey images."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.srgb import luminance
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.parts.lab import gamut_bins, lab_to_rgb, to_lab
from ssl_pipeline.testing.material import make_images, make_step
from ssl_pipeline.training.preparation import check_operations
from ssl_pipeline.types import encoder
from ssl_pipeline_plugins.pretext.colorization import Colorization

REGISTRY = load_registry()
BINS = gamut_bins(10)


def make(backbone: str = "resnet_cifar", **options: object) -> Colorization:
    choice = Choice.model_validate({"name": backbone, **(options or {"depth": 8, "width": 4})})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Colorization(build_encoder(REGISTRY, choice, (0.5,) * 3, (0.3,) * 3, seed=0, size=16), channels=16)


def one_colour(lab: Tensor, size: int = 8) -> Tensor:
    """Return views (N, 1, 3, S, S), each filled with one of the L*a*b* colours (N, 3)."""
    return lab_to_rgb(lab.double()).float()[:, None, :, None, None].expand(-1, 1, -1, size, size)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((119 / 255,) * 3, (50.03, 0, 0)),
        ((0.01,) * 3, (0.70, 0, 0)),  # on the linear part of both curves
    ],
)
def test_lab_has_the_published_values(rgb: tuple[float, ...], lab: tuple[float, ...]):
    found = to_lab(torch.tensor([rgb], dtype=torch.float32))[0]
    torch.testing.assert_close(found, torch.tensor(lab, dtype=torch.float32), atol=0.01, rtol=0)


def cie(rgb: tuple[float, float, float]) -> tuple[float, float, float]:
    """Convert one sRGB colour to L*, a*, b* by the CIE's formulae, with the D65 white point of the sRGB standard."""
    r, g, b = (c / 12.92 if c <= 0.04045 else math.pow((c + 0.055) / 1.055, 2.4) for c in rgb)
    x = (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047
    y = (0.2126729 * r + 0.7151522 * g + 0.0721750 * b) / 1.0
    z = (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883

    def f(t: float) -> float:
        return math.cbrt(t) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116

    return 116 * f(y) - 16, 500 * (f(x) - f(y)), 200 * (f(y) - f(z))


def test_lab_is_the_cie_s_and_back_again():
    colours = np.random.default_rng(0).random((500, 3)) ** 2  # squared, to include dark ones
    wanted = torch.tensor([cie(tuple(colour)) for colour in colours.tolist()], dtype=torch.float64)
    found = to_lab(torch.from_numpy(colours))
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=0)  # the published matrix has seven digits
    torch.testing.assert_close(to_lab(torch.from_numpy(colours).float()).double(), wanted, atol=1e-3, rtol=0)
    torch.testing.assert_close(lab_to_rgb(found), torch.from_numpy(colours), atol=1e-12, rtol=0)


def test_luminance_leaves_greys_alone_and_is_a_function_of_l_alone():
    grey = torch.linspace(0, 1, 256)[:, None].expand(-1, 3)
    torch.testing.assert_close(luminance(grey), grey[:, :1], atol=1e-6, rtol=0)
    colours = torch.rand(500, 3, generator=torch.Generator().manual_seed(0))
    lab = to_lab(colours) * torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(luminance(colours), lab_to_rgb(lab)[:, :1], atol=1e-5, rtol=0)


def test_bins_are_the_squares_into_which_colours_fall():
    """The paper has 313 bins by a rule that it does not state; some, such as (-90, 50), contain no sRGB colour."""
    levels = torch.linspace(0, 1, 52, dtype=torch.float64)  # values of 8 bits: 0, 5, 10, ...
    cells = (to_lab(torch.cartesian_prod(levels, levels, levels))[:, 1:] / 10).round() * 10
    inner = {(a, b) for a, b in (cells + 0.0).unique(dim=0).tolist()}
    bins = {(a, b) for a, b in BINS.tolist()}
    assert inner <= bins
    assert len(inner) > 0.97 * len(bins)
    assert len(bins) == len(BINS) == 261
    assert (0.0, 0.0) in bins
    assert (-90.0, 50.0) not in bins


def spread(ab: list[float]) -> dict[int, float]:
    """Return the share of each bin in the soft encoding of one colour: section 2.1 of the paper."""
    squares = [(a - ab[0]) ** 2 + (b - ab[1]) ** 2 for a, b in BINS.double().tolist()]
    nearest = sorted(range(len(BINS)), key=lambda q: squares[q])[:5]
    shares = {q: math.exp(-squares[q] / (2 * 5**2)) for q in nearest}
    return {q: share / sum(shares.values()) for q, share in shares.items()}


def rebalanced(counts: list[int]) -> list[float]:
    """Return the weights of the bins: equations 3 and 4, with a distribution smoothed by a Gaussian over all bins."""
    bins, smooth = BINS.double().tolist(), [0.0] * len(BINS)
    for q, count in enumerate(counts):
        near = [math.exp(-((a - bins[q][0]) ** 2 + (b - bins[q][1]) ** 2) / (2 * 5**2)) for a, b in bins]
        for other, share in enumerate(near):
            smooth[other] += count / sum(counts) * share / sum(near)
    weights = [1 / (0.5 * p + 0.5 / len(bins)) for p in smooth]
    mean = sum(p * w for p, w in zip(smooth, weights, strict=True))
    return [w / mean for w in weights]


def test_the_loss_is_the_paper_s():
    """Equation 2 in loops and in float64, at the third step, with the colours of the first two steps counted."""
    task = make().train()
    generator = torch.Generator().manual_seed(0)
    counts = [0] * len(BINS)
    for _ in range(3):
        ab = 25 * torch.randn(4, 2, 3, 3, generator=generator)
        logits = torch.randn(4, len(BINS), 3, 3, generator=generator)
        logits[:2] += 20 * task.encode(ab[:2])  # half of the predictions are correct
        places = ab.permute(0, 2, 3, 1).reshape(-1, 2).tolist()
        shares = [spread(place) for place in places]
        nearest = [max(each, key=lambda q, each=each: each[q]) for each in shares]
        for q in nearest:
            counts[q] += 1
        weights, logs = rebalanced(counts), logits.double().permute(0, 2, 3, 1).reshape(-1, len(BINS)).log_softmax(1)
        wanted = [
            -weights[q] * sum(share * logs[place, one].item() for one, share in each.items())
            for place, (q, each) in enumerate(zip(nearest, shares, strict=True))
        ]
        output = task.compare({"logits": logits, "ab": ab}, make_step())
        assert output.loss.item() == pytest.approx(sum(wanted) / len(wanted), rel=1e-5)
        right = [weights[q] * (logs[place].argmax().item() == q) for place, q in enumerate(nearest)]
        found = output.metrics["rebalanced_accuracy"].item()
        assert found == pytest.approx(sum(right) / sum(weights[q] for q in nearest), rel=1e-5)
        assert output.metrics["pretext_accuracy"].item() == pytest.approx(sum(map(bool, right)) / len(right))
        task.after_step(make_step(), output.kept)
    assert task.state_dict()["counts"].tolist() == counts


def test_the_answer_at_each_place_is_the_mean_colour_of_its_pixels():
    images = make_images(3, 16)
    encoded = make().eval()({"plain": images[:, None]})
    lab = np.array([[cie(tuple(pixel)) for pixel in image.flatten(1).T.tolist()] for image in images])
    wanted = lab[:, :, 1:].reshape(3, 4, 4, 4, 4, 2).mean(axis=(2, 4))  # 4 x 4 places of 4 x 4 px
    np.testing.assert_allclose(encoded["ab"].permute(0, 2, 3, 1), wanted, atol=2e-3)
    assert encoded["logits"].shape == (3, 261, 4, 4)


def test_maps_that_are_coarser_than_a_quarter_of_the_view_are_enlarged():
    task = make("torchvision/resnet18", stem="imagenet")  # its last map is 2 x 2 for 64 px
    assert task.encoder.maps(make_images(2, 64))[-1].shape[2:] == (2, 2)
    assert task.eval()({"plain": make_images(2, 64)[:, None]})["logits"].shape == (2, 261, 16, 16)


def test_predict_is_the_annealed_mean(monkeypatch: pytest.MonkeyPatch):
    """Equation 5: the mean of the bins, weighted by shares that are raised to the power 1 / T and renormalised."""
    task, logits = make(), torch.randn(2, 261, 3, 3, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(task, "_logits", lambda images: logits)
    powers = logits.double().softmax(dim=1) ** (1 / 0.38)
    wanted = torch.einsum("nqhw,qc->nchw", powers / powers.sum(dim=1, keepdim=True), BINS.double())
    torch.testing.assert_close(task.predict(make_images(2, 12)).double(), wanted, atol=1e-4, rtol=1e-4)


def accuracy_on_fresh_colours() -> float:
    """Train on plain images in eight colours of equal lightness, and return the accuracy on fresh ones."""
    angles = torch.arange(8) * (math.pi / 4)
    eight = torch.stack([torch.full((8,), 60.0), 30 * angles.cos(), 30 * angles.sin()], dim=1)
    rgb = lab_to_rgb(eight)
    assert ((rgb > 0.001) & (rgb < 0.999)).all()  # inside the sRGB gamut, where lightness is not clipped
    assert len({max(spread(ab), key=spread(ab).__getitem__) for ab in eight[:, 1:].tolist()}) == 8
    generator = torch.Generator().manual_seed(0)
    task = make().train()
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-2)
    for _ in range(80):
        colours = eight[torch.randint(8, (64,), generator=generator)]
        output = task.compare(task({"plain": one_colour(colours)}), make_step())
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        task.after_step(make_step(), output.kept)
    fresh = eight[torch.arange(64) % 8]
    return task.eval().compare(task({"plain": one_colour(fresh)}), make_step()).metrics["pretext_accuracy"].item()


def test_colours_of_equal_lightness_look_alike_in_luminance_but_not_in_another_grey(monkeypatch: pytest.MonkeyPatch):
    assert accuracy_on_fresh_colours() == pytest.approx(1 / 8, abs=0.03)
    monkeypatch.setattr(encoder, "luminance", lambda images: images.mean(dim=1, keepdim=True))
    assert accuracy_on_fresh_colours() > 0.4


def test_of_grey_images_it_is_said_that_there_is_nothing_to_learn():
    task = make().train()
    for images, words in [(make_images(8, 16), 0), (make_images(8, 16).mean(1, keepdim=True).expand(-1, 3, -1, -1), 1)]:
        output = task.compare(task({"plain": images[:, None]}), make_step())
        assert torch.isfinite(output.loss)
        said = task.diagnose({name: value.item() for name, value in output.metrics.items()})
        assert len(said) == words
    assert "the images are grey: 100% of their places" in said[0].message
    assert "pretrain.recipe" in said[0].message


def test_the_picture_shows_luminance_prediction_and_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    task, blue = make().eval(), torch.tensor([0.0, -60.0])[None, :, None, None]
    monkeypatch.setattr(task, "predict", lambda images: blue.expand(len(images), 2, 4, 4))
    reds = make_images(8, 16) * torch.tensor([1.0, 0.3, 0.3])[:, None, None]
    with torch.no_grad():
        task.draw({"plain": reds[:, None]}, tmp_path)
    with Image.open(tmp_path / "colours.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=np.float64)
    assert pixels.shape[1] > pixels.shape[0] > 300
    rows = [part[(part.sum(axis=2) > 0) & (part.min(axis=2) < 250)].mean(axis=0) for part in np.array_split(pixels, 3)]
    assert np.ptp(rows[0]) < 1  # the rows without background and labels: greys, the blue prediction, the red originals
    assert [row.argmax() for row in rows[1:]] == [2, 0]
    assert min(np.ptp(row) for row in rows[1:]) > 20


@pytest.mark.parametrize("operation", ["color_jitter", "grayscale", "solarize"])
def test_views_whose_colours_were_changed_are_refused(operation: str):
    values = {"brightness": 0, "contrast": 0, "saturation": 0.4, "hue": 0} if operation == "color_jitter" else {}
    values |= {"threshold": 0.5} if operation == "solarize" else {}
    policy = Policy.model_validate({"size": 16, operation: {"p": 0.5, **values}})
    with pytest.raises(ConfigError, match=rf"augment\.views\.plain\.{operation}: pretext task 'colorization'"):
        check_operations(make(), "colorization", {"plain": policy})


def test_a_head_without_channels_is_refused():
    with pytest.raises(ValueError, match="channels must be at least 1, got 0"):
        Colorization(make().encoder, channels=0)
