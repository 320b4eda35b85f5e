"""TopK: largest scores, ties at random."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from skal.selection import TopK
from skal.utils._rows import Rows


def test_largest_scores_in_order():
    rng = np.random.RandomState(0)
    scores = rng.standard_normal(200)
    picks = TopK().select(scores[:, None], 50)
    assert picks.tolist() == np.argsort(-scores)[:50].tolist()


def test_scores_come_before_Z():
    Z = np.arange(5.0)[:, None]
    assert TopK().select(Z, 2).tolist() == [4, 3]
    assert TopK().select(Z, 2, scores=-Z[:, 0]).tolist() == [0, 1]
    assert TopK().select(np.ones((5, 3)), 1, scores=[0, 9, 1, 1, 1]).tolist() == [1]
    assert TopK().select(Z, 1, scores=torch.tensor([0, 9, 1, 1, 1])).tolist() == [1]


def test_a_factored_column_is_the_product():
    rows = Rows(np.array([[1.0], [2], [3]]), np.array([[1.0], [5], [2]]))
    assert TopK().select(rows, 3).tolist() == [1, 2, 0]


def test_labelled_rows_change_nothing():
    Z = np.arange(5.0)[:, None]
    assert TopK().select(Z, 2, Z_labeled=Z).tolist() == [4, 3]


def test_ties_are_broken_uniformly(draws):
    scores = np.array([0.0, 1, 1, 1, 1, 1, 2])
    counts = np.zeros(7)
    for seed in range(draws(1000)):
        picks = TopK(random_state=seed).select(scores[:, None], 3)
        assert picks[0] == 6
        counts[picks[1:]] += 1
    assert counts[0] == 0
    assert chisquare(counts[1:6]).pvalue > 1e-3


def test_returned_scores():
    picks, scores = TopK().select(np.array([[3], [1], [2]]), 2, return_scores=True)
    assert picks.tolist() == [0, 2] and scores.tolist() == [3.0, 1.0, 2.0]


def test_embeddings_without_scores():
    with pytest.raises(ValueError, match=r"pass scores=, or one column as Z. Got Z with 3 columns"):
        TopK().select(np.ones((5, 3)), 1)


def test_ties_with_the_last_of_as_many_values_as_rows_are_chosen():
    scores = np.array([3.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.0])
    chosen = TopK(random_state=0).select(scores[:, None], 3)
    assert len(chosen) == 3 and scores[chosen].tolist() == [3.0, 2.0, 2.0]
    for n_instances in range(1, 8):
        chosen = TopK(random_state=0).select(scores[:, None], n_instances)
        assert scores[chosen].tolist() == scores[:n_instances].tolist()
