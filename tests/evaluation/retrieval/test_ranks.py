import itertools

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import label_ranking_average_precision_score

from ssl_pipeline.evaluation.retrieval.ranks import chance_within, pair, ranks_of_first_right

CAPTIONS = [("a dog", "a puppy"), ("a cat",), (), ("a dog", " "), ("a cat", "A  Cat\n", "a kitten"), ("a fox",)]


def by_hand(queries, candidates, right, but_itself=False):
    """Sort all candidates of a query in float64, wrong ones first among equals, and look for the first right one."""
    found = []
    for number, query in enumerate(np.asarray(queries, np.float64)):
        order = []
        for other, candidate in enumerate(np.asarray(candidates, np.float64)):
            if but_itself and other == number:
                continue
            cosine = query @ candidate / (np.linalg.norm(query) * np.linalg.norm(candidate))
            order.append((-round(cosine, 9), bool(right[number][other])))
        found.append(next(rank for rank, (_, is_right) in enumerate(sorted(order), 1) if is_right))
    return found


@pytest.fixture
def vectors() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.normal(size=(60, 5)).astype(np.float32), generator.normal(size=(40, 5)).astype(np.float32)


def test_pairs_have_each_text_once_and_no_blank_one():
    pairs = pair(CAPTIONS)
    assert pairs.texts == ("a dog", "a puppy", "a cat", "a kitten", "a fox")
    assert list(zip(pairs.images, pairs.numbers, strict=True)) == [
        *((0, 0), (0, 1), (1, 2), (3, 0), (4, 2), (4, 3), (5, 4))
    ]
    assert pairs.right.toarray().sum(axis=1).tolist() == [2, 1, 0, 1, 2, 1]


def test_texts_are_equal_where_a_tokenizer_reads_the_same():
    """U+001C is white space for Python but not for the tokenizer, which treats a final sigma like any other sigma."""
    assert pair([("a b", "a\x1cb", "A\u3000B"), ("\u039f\u03a3", "\u03bf\u03c3")]).texts == (
        "a b",
        "a\x1cb",
        "\u039f\u03a3",
    )


def test_ranks_are_those_of_sorting_by_hand(vectors, monkeypatch: pytest.MonkeyPatch):
    queries, candidates = vectors
    right = np.random.default_rng(1).random((60, 40)) < 0.1
    right[np.arange(60), np.arange(60) % 40] = True
    expected = by_hand(queries, candidates, right)
    assert ranks_of_first_right(queries, candidates, csr_array(right)).tolist() == expected
    monkeypatch.setattr("ssl_pipeline.evaluation.retrieval.ranks._QUERIES", 7)
    assert ranks_of_first_right(queries, candidates, csr_array(right)).tolist() == expected


def test_sparse_vectors_have_the_ranks_of_dense_ones(vectors):
    """Some of the vectors are zero, like the vector of a text without a known word."""
    queries, candidates = (rows * (np.abs(rows) > 1) for rows in vectors)
    assert (queries == 0).all(axis=1).any()
    right = np.random.default_rng(1).random((60, 40)) < 0.1
    right[:, 0] = True
    dense = ranks_of_first_right(queries, candidates, csr_array(right))
    for first, second in ((csr_array(queries), candidates), (queries, csr_array(candidates))):
        assert ranks_of_first_right(first, second, csr_array(right)).tolist() == dense.tolist()
    with pytest.raises(ValueError, match="not finite"):
        ranks_of_first_right(csr_array(queries * np.nan), candidates, csr_array(right))


def test_where_one_is_right_the_mean_reciprocal_rank_is_scikit_learn_s(vectors):
    queries, candidates = vectors
    right = np.eye(40, dtype=bool)[np.arange(60) % 40]
    ranks = ranks_of_first_right(queries, candidates, csr_array(right))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, candidates)]
    assert (1 / ranks).mean() == pytest.approx(label_ranking_average_precision_score(right, unit[0] @ unit[1].T))


def test_an_image_is_no_answer_to_itself(vectors, monkeypatch: pytest.MonkeyPatch):
    queries, _ = vectors
    groups = np.arange(60) // 2
    right = groups[:, None] == groups
    expected = by_hand(queries, queries, right, but_itself=True)
    monkeypatch.setattr("ssl_pipeline.evaluation.retrieval.ranks._QUERIES", 7)
    assert ranks_of_first_right(queries, queries, csr_array(right), but_itself=True).tolist() == expected


def test_equal_captions_of_other_images_are_right():
    texts = np.eye(2)  # "a dog", "a cat"
    pairs = pair([("a dog",), ("a cat",), ("a dog",)])
    images = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0]])  # the first image is mistaken for a cat
    assert ranks_of_first_right(images, texts, pairs.right).tolist() == [2, 1, 1]
    assert ranks_of_first_right(texts, images, pairs.right.T.tocsr()).tolist() == [1, 2]


def test_towers_that_map_all_to_one_point_find_nothing():
    pairs = pair([(f"text {number}",) for number in range(300)])
    point = np.full((300, 64), 0.3, np.float32) + np.random.default_rng(0).normal(size=(300, 64)) * 1e-8
    assert (ranks_of_first_right(point, point, pairs.right) == 300).all()


def test_what_cannot_be_ranked_is_refused(vectors):
    queries, candidates = vectors
    with pytest.raises(ValueError, match="no right candidate"):
        ranks_of_first_right(queries, candidates, csr_array(np.zeros((60, 40), bool)))
    candidates[3, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        ranks_of_first_right(queries, candidates, csr_array(np.ones((60, 40), bool)))


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_chance_is_the_share_of_all_orders(k):
    orders = list(itertools.permutations([1, 1, 0, 0, 0]))
    share = np.mean([any(order[:k]) for order in orders])
    assert chance_within(k, np.array([2]), 5) == pytest.approx([share])
