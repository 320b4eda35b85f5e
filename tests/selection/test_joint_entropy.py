"""Greedy choice by joint information, against enumeration of all labels of a batch."""

from itertools import product

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skal.selection import _joint_entropy as module
from skal.selection._joint_entropy import joint_entropy_greedy


def probabilities(n, C, T, seed=0, concentration=0.5):
    P = np.random.RandomState(seed).dirichlet(np.full(C, concentration), (n, T))
    return torch.tensor(P.transpose(0, 2, 1).copy())


def information(P, batch):
    """I(y_S; model) by a sum over all labels."""
    P = P.numpy()
    joint = [
        np.prod([P[i, c] for i, c in zip(batch, labels, strict=True)], axis=0).mean()
        for labels in product(range(P.shape[1]), repeat=len(batch))
    ]
    joint = np.array(joint)
    assert_allclose(joint.sum(), 1)
    joint = joint[joint > 0]
    each = sum(torch.special.entr(torch.tensor(P[i])).sum(0).mean().item() for i in batch)
    return -(joint * np.log(joint)).sum() - each


def greedy(P, k, m=10**6, seed=0):
    return joint_entropy_greedy(P, k, np.random.RandomState(seed), max_configurations=m)


@pytest.mark.parametrize("C", [2, 3])
def test_greedy_by_enumeration(C):
    P = probabilities(7, C, 6)
    picks, first = greedy(P, 5)
    assert_allclose(first, [information(P, [i]) for i in range(7)])
    assert picks[0] == first.argmax()
    chosen, before = [], np.full(7, np.inf)
    for pick in picks:
        values = np.array(
            [information(P, [*chosen, i]) if i not in chosen else -np.inf for i in range(7)]
        )
        assert pick == values.argmax()
        gains = values - (information(P, chosen) if chosen else 0)
        # Submodular: no gain grows.
        assert (gains <= before + 1e-12).all()
        before = np.where(np.isfinite(gains), gains, before)
        chosen.append(pick)


@pytest.mark.parametrize("seed", range(3))
def test_lazy_is_eager(monkeypatch, seed):
    P = probabilities(400, 4, 20, seed)
    lazy, _ = greedy(P, 6)
    n_gains = []
    gains = module._Configurations.gains

    def counted(self, P, conditional):
        n_gains.append(len(P))
        return gains(self, P, conditional)

    monkeypatch.setattr(module._Configurations, "gains", counted)
    assert_array_equal(greedy(P, 6)[0], lazy)
    assert sum(n_gains) < 5 * 400

    def everything(bounds, joint, P, conditional):
        gains = joint.gains(P, conditional)
        bounds[:] = torch.where(torch.isinf(bounds), bounds, gains)

    monkeypatch.setattr(module, "_refresh", everything)
    assert_array_equal(greedy(P, 6)[0], lazy)


def test_a_copy_gains_no_more_than_the_row():
    P = probabilities(4, 3, 8)
    P = torch.cat([P, P[:1]])
    joint = module._Configurations(P).with_row(P[0])
    conditional = torch.special.entr(P).sum(1).mean(1)
    gains, alone = joint.gains(P, conditional), greedy(P, 1)[1]
    assert_allclose(gains[0], gains[4])
    assert gains[4] < alone[0] - 1e-3
    assert_allclose(gains[1], information(P, [0, 1]) - information(P, [0]))


def test_drawn_configurations_agree_with_all():
    P = probabilities(30, 3, 10, concentration=1.0)
    chosen = [3, 8, 20]
    joint = module._Configurations(P)
    for row in chosen:
        joint = joint.with_row(P[row])
    conditional = torch.special.entr(P).sum(1).mean(1)
    drawn = module._drawn(P, chosen, 40_000, np.random.RandomState(0))
    assert_allclose(drawn.gains(P, conditional), joint.gains(P, conditional), atol=4e-3)


def test_models_that_are_certain():
    """Probabilities of 0 and 1: no NaN, and the information is that of partitions of the models."""
    votes = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]])
    P = torch.nn.functional.one_hot(votes, 2).permute(0, 2, 1).double()
    for m in (10**6, 1):
        picks, first = greedy(P, 5, m=m)
        assert_allclose(first[[0, 1, 3, 4]], [np.log(2), np.log(2), np.log(2), 0], atol=1e-12)
        assert len(set(picks)) == 5
        assert {1} < set(picks[:2]) and set(picks[:2]) & {0, 3}


@pytest.mark.parametrize("m", [10**6, 100])
def test_nothing_to_learn_is_random(m):
    P = probabilities(6, 2, 1).expand(6, 2, 5).contiguous()
    picks = np.array([greedy(P, 3, m=m, seed=s)[0] for s in range(300)])
    counts = np.stack([np.bincount(column, minlength=6) for column in picks.T])
    assert ((counts > 25) & (counts < 80)).all()


def test_long_batches_do_not_underflow():
    P = probabilities(150, 5, 10, concentration=3.0)
    picks, _ = greedy(P, 150, m=50)
    assert_array_equal(np.sort(picks), np.arange(150))
