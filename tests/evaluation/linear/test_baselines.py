import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image
from torch import nn

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.config import Choice
from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.data.store import Split, open_split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.evaluation.calibration import calibrate
from ssl_pipeline.evaluation.features import extract, sample
from ssl_pipeline.evaluation.linear.baselines import colour_histogram, random_encoder, raw_pixels
from ssl_pipeline.loading import load_registry
from tests.factories import model_card

MEAN, STD = (0.3, 0.3, 0.3), (0.37, 0.37, 0.37)
BACKBONE = Choice.model_validate({"name": "resnet_cifar", "depth": 8, "width": 4})


def digits() -> np.ndarray:
    grey = (load_digits().images * 15.9).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Split:
    store = tmp_path_factory.mktemp("store")
    images = digits()[:300]
    write_split(store / "train", np.arange(300, dtype=np.uint64), [images], 8)
    return open_split(store, "train")


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return model_card(mean=MEAN, std=STD, seed=5)


def test_raw_pixels_of_a_small_canvas_are_its_pixels():
    images = digits()[:5]
    np.testing.assert_allclose(raw_pixels(images).reshape(5, 3, 8, 8), images.transpose(0, 3, 1, 2) / 255, atol=1e-6)


@pytest.mark.parametrize("canvas", [32, 48, 41, 224])
def test_raw_pixels_of_a_large_canvas_are_averages_over_areas(canvas):
    image = Image.fromarray(load_sample_image("china.jpg")).resize((canvas, canvas))
    expected = np.stack(
        [np.asarray(band.convert("F").resize((16, 16), Image.Resampling.BOX)) for band in image.split()]
    )
    tolerance = 0.02 if canvas % 16 else 1e-5  # Pillow's box filter takes pixels on an edge whole or not at all
    found = raw_pixels(np.asarray(image)[None]).reshape(3, 16, 16)
    assert found.dtype == np.float32
    assert np.abs(found - expected / 255).mean() < tolerance
    assert found.mean() == pytest.approx(np.asarray(image).mean() / 255, abs=1e-5)  # all areas have the same weight


def test_colour_histogram_is_numpy_s():
    images = np.stack([load_sample_image(name)[:60, :60] for name in ("china.jpg", "flower.jpg")])
    found = colour_histogram(images)
    for image, row in zip(images, found, strict=True):
        expected, _ = np.histogramdd(image.reshape(-1, 3), bins=8, range=[(0, 256)] * 3)
        np.testing.assert_allclose(row, expected.ravel() / 3600, atol=1e-7)
    assert found.dtype == np.float32
    assert colour_histogram(images[:0]).shape == (0, 512)
    assert raw_pixels(images[:0]).shape == (0, 768)


def test_sample_is_spread_evenly(pool):
    assert sample(pool, 4).tolist() == [0, 100, 199, 299]
    assert sample(pool, 10_000).tolist() == list(range(300))


def test_features_come_in_order_whatever_the_batches(pool):
    assert np.array_equal(extract(raw_pixels, pool), raw_pixels(digits()[:300]))
    assert np.array_equal(extract(raw_pixels, pool, np.array([299, 3])), raw_pixels(digits()[[299, 3]]))
    assert extract(raw_pixels, pool, np.array([], np.int64)).shape == (0, 192)


def test_calibration_gives_batch_norm_what_it_sees():
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.ReLU(), nn.BatchNorm1d(4))
    batches = list(torch.randn(3, 50, 4, generator=torch.Generator().manual_seed(0)) * 3 + 2)
    calibrate(network, batches)
    assert not any(module.training for module in network.modules())
    with torch.no_grad():
        hidden = [network[0](batch).double() for batch in batches]
    mean, var = torch.stack([h.mean(0) for h in hidden]).mean(0), torch.stack([h.var(0) for h in hidden]).mean(0)
    torch.testing.assert_close(network[1].running_mean.double(), mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network[1].running_var.double(), var, atol=1e-5, rtol=1e-5)
    seen = [torch.relu((h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt()) for h in hidden]  # dropout is off
    torch.testing.assert_close(
        network[4].running_mean.double(), torch.stack([s.mean(0) for s in seen]).mean(0), atol=1e-5, rtol=1e-5
    )


def test_calibration_without_batch_norm():
    network = nn.Linear(2, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    calibrate(network, [torch.ones(3, 2)])
    torch.testing.assert_close(network.state_dict(), before)


def test_random_encoder_is_the_same_network_with_other_weights(pool, card):
    state = torch.random.get_rng_state()
    embeds = [random_encoder(load_registry(), card, True, seed, pool) for seed in (5, 5, 6)]
    assert torch.equal(torch.random.get_rng_state(), state)
    first, same, other = (extract(embed, pool) for embed in embeds)
    assert first.tobytes() == same.tobytes()
    assert np.abs(first - other).max() > 0.05
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    raw = extract(random_encoder(load_registry(), card, False, 5, pool), pool)
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), first, atol=1e-5)


def test_random_encoder_is_calibrated_on_the_pool(pool, card):
    """If all images are one batch, its embeddings equal those in train mode, apart from the variance's denominator."""
    some = open_first(pool, 200)
    encoder = build_encoder(load_registry(), BACKBONE, MEAN, STD, 5, 8).train()
    with torch.no_grad():
        expected = encoder(torch.from_numpy(some.images(np.arange(200))).permute(0, 3, 1, 2) / 255).numpy()
    found = extract(random_encoder(load_registry(), card, False, 5, some), some)
    assert (
        np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
    )  # train mode divides by n, running_var by n - 1


def test_random_encoder_as_it_is_initialised(pool, card):
    encoder = build_encoder(load_registry(), BACKBONE, MEAN, STD, 5, 8).eval()
    with torch.no_grad():
        expected = encoder(torch.from_numpy(pool.images(np.arange(300))).permute(0, 3, 1, 2) / 255).numpy()
    found = extract(random_encoder(load_registry(), card, False, 5, None), pool)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    calibrated = extract(random_encoder(load_registry(), card, False, 5, pool), pool)
    assert np.abs(calibrated - found).max() > 0.1 * np.abs(found).max()


def open_first(pool: Split, count: int) -> Split:
    return Split(pool.name, pool.canvas, pool.ids[:count], pool.mean, pool.std, "", (pool.shards[0][:count],))


def test_baselines_of_other_bands_are_on_the_scale_of_their_pool():
    spec = ImageSpec(channels=2, dtype="uint16", low=0, high=4095)
    images = np.zeros((2, 8, 8, 2), np.uint16)
    images[0, :4, :, 0], images[1] = 4095, 2048
    pixels = raw_pixels(images, spec).reshape(2, 2, 8, 8)
    np.testing.assert_allclose(pixels, images.transpose(0, 3, 1, 2) / 4095, atol=1e-6)
    shares = colour_histogram(images, spec).reshape(2, 2, 32)
    np.testing.assert_allclose(shares.sum(axis=2), 0.5)
    np.testing.assert_allclose(shares[0, 0, [0, 31]], [0.25, 0.25])
    np.testing.assert_allclose(shares[1, :, 16], 0.5)
    assert colour_histogram(images[:0], spec).shape == (0, 64)
