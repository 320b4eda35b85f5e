from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chisquare

from skal.selection import GumbelTopK, TopK

SCORES = np.array([0.5, 1.0, 2.0, 0.0])


def chances(kind, coldness):
    """What each draw is proportional to, by the definition."""
    if kind == "power":
        return SCORES**coldness
    if kind == "softmax":
        return np.exp(coldness * SCORES)
    return np.array([3.0, 2.0, 1.0, 4.0]) ** -coldness


@pytest.mark.parametrize("kind", ["power", "softmax", "softrank"])
def test_the_law_of_two_draws(kind):
    weights = chances(kind, 1.5)
    law = {
        (i, j): weights[i] / weights.sum() * weights[j] / (weights.sum() - weights[i])
        for i, j in permutations(range(4), 2)
    }
    law = {pair: p for pair, p in law.items() if p > 0}
    counts, n = dict.fromkeys(law, 0), 3000
    for seed in range(n):
        selector = GumbelTopK(kind=kind, coldness=1.5, random_state=seed)
        counts[tuple(selector.select(SCORES[:, None], 2).tolist())] += 1
    assert chisquare(list(counts.values()), n * np.array(list(law.values()))).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["power", "softmax", "softrank"])
def test_cold_draws_are_the_largest(kind, rng):
    scores = rng.uniform(1, 2, size=50)
    picks = GumbelTopK(kind=kind, coldness=1e6, random_state=0).select(scores[:, None], 10)
    assert np.array_equal(picks, TopK().select(scores[:, None], 10))


def test_rows_without_a_chance_come_last_at_random():
    scores = np.r_[np.zeros(20), 1.0]
    orders = {
        tuple(GumbelTopK(random_state=seed).select(scores[:, None], 3).tolist())
        for seed in range(20)
    }
    assert all(order[0] == 20 for order in orders) and len(orders) > 10


def test_negative_scores_are_told_what_to_use():
    with pytest.raises(ValueError, match=r"Got -0.5 in row 1 instead. Use kind='softrank'"):
        GumbelTopK().select(np.array([[1.0], [-0.5]]), 1)
    assert GumbelTopK(coldness=0.0).select(np.ones((3, 1)), 3).shape == (3,)
