import numpy as np
import pytest

from skal.selection import KMeansCandidates


def test_the_first_level_that_leaves_enough(rng):
    scores = np.r_[np.full(5, 3.0), np.full(20, 2.0), np.full(30, 1.0)]
    selector = KMeansCandidates(levels=(2.5, 1.5, 0.5), oversample=2.0)
    for n_instances, n_candidates in [(2, 5), (3, 25), (12, 25), (13, 55), (50, 55)]:
        assert len(selector._candidates(55, n_instances, scores)) == n_candidates
    picks = KMeansCandidates(levels=(2.5,), random_state=0).select(
        rng.standard_normal((55, 3)), 5, scores=scores
    )
    assert sorted(picks) == [0, 1, 2, 3, 4]


def test_one_of_each_cluster(rng):
    centres = 10 * np.eye(4)
    Z = np.repeat(centres, 25, axis=0) + rng.normal(scale=0.1, size=(100, 4))
    picks = KMeansCandidates(random_state=0).select(Z, 4)
    assert sorted(picks // 25) == [0, 1, 2, 3]


def test_batches_are_filled_from_candidates_first(rng):
    scores = np.r_[np.ones(3), np.zeros(47)]
    batches = {
        tuple(
            KMeansCandidates(levels=(0.5,), random_state=seed).select(
                rng.standard_normal((50, 2)), 5, scores=scores
            )
        )
        for seed in range(5)
    }
    assert all(set(batch) >= {0, 1, 2} for batch in batches) and len(batches) > 1
    # Copies make fewer clusters than rows to choose.
    picks = KMeansCandidates(random_state=0).select(np.tile(np.eye(2), (20, 1)), 6)
    assert len(set(picks)) == 6


@pytest.mark.parametrize("levels", [(), (1.0, 1.0), (0.0, 1.0)])
def test_levels_must_fall(levels):
    with pytest.raises(ValueError, match="'levels' of KMeansCandidates must be numbers that fall"):
        KMeansCandidates(levels=levels).select(np.eye(3), 1, scores=np.ones(3))
