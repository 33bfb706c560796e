"""Captions of a pool as tokens: which are drawn, which are equal, what is refused, and what training leaves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ssl_pipeline.artifacts.files import load_encoder, load_task, load_text_tower
from ssl_pipeline.data.captions import Captions
from ssl_pipeline.data.framing import Framing
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.products import verified
from ssl_pipeline.randomness import hash64
from ssl_pipeline.recipes import resolve
from ssl_pipeline.tokenizer import TOKENIZER, Tokenizer
from ssl_pipeline.training.batch_inputs import inputs
from ssl_pipeline.training.captions import TokenizedCaptions, encode_captions, tokenized
from ssl_pipeline.training.preparation import describe_run
from ssl_pipeline.training.saving import save
from ssl_pipeline.types import CAPTIONS, TOKENS, TextNeeds
from tests.training.conftest import REGISTRY

NEEDS = TextNeeds(vocabulary=300, context=8)
SAID = [("a red star", "a star"), (), ("a star",), ("A  red\tstar", "no star at all, but a circle"), ("sea",)]
IDS = hash64("image", np.arange(len(SAID)))


@pytest.fixture(scope="module")
def texts():
    return encode_captions(NEEDS, SAID)


def drawn(texts, rows, epoch=0, seed=0):
    rows = np.array(rows)
    return texts.drawn(rows, IDS[rows], seed, epoch)


def test_images_without_captions_are_left_out_and_long_captions_counted(texts):
    assert texts.rows.tolist() == [0, 2, 3, 4]
    assert (texts.count, texts.different, texts.truncated) == (6, 4, 1)


def test_captions_of_the_same_tokens_have_the_same_id(texts):
    ids = {row: set(found.tolist()) for row, found in zip(texts.rows, drawn(texts, texts.rows).captions, strict=True)}
    assert len(ids[0] & ids[2]) == len(ids[0] & ids[3]) == 1
    assert not ids[2] & ids[3]
    assert not ids[4] & (ids[0] | ids[2] | ids[3])


def test_the_drawn_caption_is_the_image_s_and_comes_first(texts):
    expected = {row: texts.tokenizer.encode(SAID[row]).tokens.tolist() for row in texts.rows.tolist()}
    seen = {row: set() for row in expected}
    for epoch in range(20):
        found = drawn(texts, texts.rows, epoch)
        assert found.tokens.shape == (4, 8)
        for row, tokens, captions in zip(expected, found.tokens.tolist(), found.captions.tolist(), strict=True):
            place = expected[row].index(tokens)
            seen[row].add(place)
            alone = drawn(TokenizedCaptions(texts.tokenizer, [(SAID[row][place],)]), [0]).captions
            assert captions[0] == alone[0, 0]
            assert len(captions) == 2
    assert seen == {0: {0, 1}, 2: {0}, 3: {0, 1}, 4: {0}}


def test_what_is_drawn_depends_on_image_epoch_and_seed_alone(texts):
    whole = drawn(texts, [0, 2, 3, 4], epoch=3)
    for place, row in enumerate([0, 2, 3, 4]):
        alone = drawn(texts, [row], epoch=3)
        assert np.array_equal(alone.tokens[0], whole.tokens[place])
        assert np.array_equal(alone.captions[0], whole.captions[place])
    seeds = {drawn(texts, [0], seed=seed).tokens.tobytes() for seed in range(10)}
    assert len(seeds) == 2


def test_of_an_image_with_hundreds_of_captions_a_step_is_told_of_sixteen():
    many = tuple(f"number {number}" for number in range(300))
    texts, ids = encode_captions(NEEDS, [many, ("sea",)]), IDS[:2]
    found = [texts.drawn(np.array([0, 1]), ids, 0, epoch).captions for epoch in range(40)]
    assert {one.shape for one in found} == {(2, 16)}
    assert all(len(set(one[0].tolist())) == 16 for one in found)
    assert len({int(one[0, 0]) for one in found}) > 30  # the drawn caption changes from epoch to epoch
    assert len({int(number) for one in found for number in one[0]}) > 200


def test_a_task_that_reads_captions_is_given_them_and_no_other_is(build_small, configure, pool, policies):
    task, rows = build_small(configure(recipe="clip")), np.arange(4)
    texts = tokenized(task, pool)
    images = torch.from_numpy(pool.images(rows))
    views = inputs(task, policies, images, pool.ids[rows], 0, 0, pool.spec, texts, rows)
    assert (views[TOKENS].shape, views[CAPTIONS].shape) == ((4, 32), (4, 2))
    with pytest.raises(ValueError, match="texts and rows must not be None"):
        inputs(task, policies, images, pool.ids[rows], 0, 0, pool.spec)
    other = build_small(configure(recipe="rotation"))
    assert tokenized(other, pool) is None
    assert not {TOKENS, CAPTIONS} & inputs(other, policies, images, pool.ids[rows], 0, 0, pool.spec, texts, rows).keys()


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        (
            None,
            r"learns from images and their captions, but no image has a caption\. Give the images captions \(labels",
        ),
        (
            Captions.of([("a star",)] * 24 + [()] * 24),
            r"all captions of the 24 captioned images are the same\. Give",
        ),
    ],
)
def test_a_pool_without_captions_to_tell_apart_is_refused(build_small, configure, pool, captions, message):
    with pytest.raises(PipelineError, match=message):
        tokenized(build_small(configure(recipe="siglip")), replace(pool, captions=captions))


def test_a_run_trains_on_captioned_images_alone_and_says_so(run, configure, pool, capsys):
    few = [own if row % 2 else () for row, own in enumerate(pool.captions)]
    task, history = run(configure(recipe="clip", batch_size=8, epochs=1), replace(pool, captions=Captions.of(few)))
    assert history.rows[-1]["step"] == 3  # 24 of 48 images have captions
    assert "24 images without a caption are left out" in capsys.readouterr().err.replace("\n", " ")
    assert task.text_tower is not None


def test_messages_count_images_with_captions(run, configure, pool):
    one = [("a star", "a sea")] + [()] * 47
    with pytest.raises(PipelineError, match="at least 2 images with captions, but the pool has 1. Add"):
        run(configure(recipe="clip"), replace(pool, captions=Captions.of(one)))


def test_what_leaves_training_is_rebuilt(run, configure, pool, policies, tmp_path):
    config = configure(recipe="clip", epochs=1)
    task, _ = run(config)
    texts, folder = tokenized(task, pool), tmp_path / "model"
    folder.mkdir()
    card = describe_run(config, resolve(REGISTRY, config), task, pool, Framing(8, "crop", (0, 0, 0)), policies, {})
    card = save(folder, task.eval(), card, {}, texts)
    assert (card.projection_dim, card.embedding_dim) == (64, 64)
    assert "tokenizers" in card.versions

    again, (encoder, read) = load_task(REGISTRY, folder), load_encoder(REGISTRY, folder)
    tower, _ = load_text_tower(REGISTRY, folder)
    tokenizer = Tokenizer.read(verified(folder / TOKENIZER, "pretrain"))
    assert read == card
    assert tokenizer.json == texts.tokenizer.json
    images, said = torch.rand(5, 3, 8, 8), tokenizer.encode(["a handwritten three", "the number 4"])
    tokens, mask = torch.from_numpy(said.tokens), torch.from_numpy(said.mask)
    with torch.no_grad():
        wanted = task.encoder(images)
        assert torch.equal(encoder(images), wanted)
        assert torch.equal(again.predict(images), F.normalize(wanted, dim=1))
        assert torch.equal(tower(tokens, mask), task.text_tower(tokens, mask))
        assert torch.equal(again.loss.log_scale, task.loss.log_scale)


def test_a_model_without_texts_has_no_text_tower(run, configure, pool, policies, tmp_path):
    config = configure(recipe="rotation", epochs=1)
    task, _ = run(config)
    card = describe_run(config, resolve(REGISTRY, config), task, pool, Framing(8, "crop", (0, 0, 0)), policies, {})
    save(tmp_path, task, card, {})
    assert "projection_dim" not in (tmp_path / "model.json").read_text(encoding="utf-8")
    with pytest.raises(PipelineError, match=r"recipe 'rotation' learns from images only: it has no text tower"):
        load_text_tower(REGISTRY, tmp_path)


def test_a_frozen_image_tower_without_weights_is_refused(build_small, configure):
    frozen = {"image_tower": "frozen", "out_dim": None}
    with pytest.raises(ConfigError, match=r"pretrain\.init: random, but pretext task 'image_text' .* would ship\. Set"):
        build_small(configure(recipe="clip", pretext_task=frozen))
