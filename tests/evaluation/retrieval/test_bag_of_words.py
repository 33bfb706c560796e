import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from ssl_pipeline.evaluation.retrieval.bag_of_words import STRENGTHS, fit_words
from ssl_pipeline.evaluation.retrieval.ranks import pair, ranks_of_first_right

COLOURS, THINGS = ("red", "green", "blue"), ("bicycle", "house", "cat", "fox")


def told(count: int, seed: int) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Return features, which encode what the captions say and include a constant, and the captions."""
    generator = np.random.default_rng(seed)
    colours, things = generator.integers(0, 3, count), generator.integers(0, 4, count)
    signs = np.eye(3)[colours] @ generator.normal(size=(3, 8)) + np.eye(4)[things] @ generator.normal(size=(4, 8))
    features = np.hstack([signs + generator.normal(size=(count, 8)) * 0.01, np.ones((count, 1))]).astype(np.float32)
    captions = [(f"A {COLOURS[colour]} {THINGS[thing]}.",) for colour, thing in zip(colours, things, strict=True)]
    return features, captions


def test_the_map_is_scikit_learn_s_ridge():
    features, captions = told(200, 0)
    words = fit_words(features, captions, np.arange(200))
    assert words is not None
    assert words.penalty in STRENGTHS
    bags = TfidfVectorizer(token_pattern=r"(?u)\w+").fit_transform([text for (text,) in captions]).toarray()
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    peer = Ridge(alpha=words.penalty * 200).fit(scaled, bags)
    assert words.images(features) == pytest.approx(peer.predict(scaled), abs=1e-9)
    assert words.texts([captions[3][0]]).toarray() == pytest.approx(bags[3:4])


def test_what_features_tell_is_found_in_new_images():
    features, captions = told(400, 0)
    words = fit_words(features[:300], captions[:300], np.arange(300))
    pairs = pair(captions[300:])
    assert words is not None
    ranks = ranks_of_first_right(words.images(features[300:]), words.texts(pairs.texts), pairs.right)
    assert (ranks == 1).mean() > 0.9
    shuffled = fit_words(np.random.default_rng(1).permutation(features[:300]), captions[:300], np.arange(300))
    assert shuffled is not None
    ranks = ranks_of_first_right(shuffled.images(features[300:]), shuffled.texts(pairs.texts), pairs.right)
    assert (ranks == 1).mean() < 0.3


def test_noise_gets_a_penalty_and_signs_do_not():
    features, captions = told(400, 0)
    noise = np.random.default_rng(1).normal(size=(400, 300)).astype(np.float32)
    blurred = features + 3 * np.random.default_rng(2).normal(size=features.shape).astype(np.float32)
    clear, noisy = (fit_words(each, captions, np.arange(400)) for each in (features, np.hstack([blurred, noise])))
    assert clear is not None
    assert noisy is not None
    assert noisy.penalty > clear.penalty


def test_images_without_captions_and_texts_without_known_words():
    features, captions = told(200, 0)
    some = [texts if number % 3 else () for number, texts in enumerate(captions)]
    kept = np.arange(200) % 3 > 0
    words = fit_words(features, some, np.arange(200))
    alone = fit_words(features[kept], [texts for texts in some if texts], np.arange(200)[kept])
    assert words is not None
    assert alone is not None
    assert words.weight == pytest.approx(alone.weight)
    nothing = words.texts(["zebra", ""]).toarray()
    assert not nothing.any()
    right = csr_array(np.array([[True, False]]))
    assert ranks_of_first_right(nothing[:1], np.eye(len(words.bias))[:2], right).tolist() == [2]


@pytest.mark.parametrize(
    ("captions", "groups"), [([("?!",)] * 9, range(9)), ([("a",)] * 9, [0] * 9), ([()] * 9, range(9))]
)
def test_where_nothing_can_be_learned_there_is_no_map(captions, groups):
    assert fit_words(np.ones((9, 2), np.float32), captions, np.array(groups)) is None
