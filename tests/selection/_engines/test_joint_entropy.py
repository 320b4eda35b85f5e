"""Greedy choice by joint information, against enumeration of all labels of a batch."""

from itertools import product

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skal.selection._engines import joint_entropy as module
from skal.selection._engines.joint_entropy import joint_entropy_greedy


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
    P = probabilities(400, 10, 20, seed, concentration=0.1)
    P[40:] = 0.8 * P[40:].mean(2, keepdim=True) + 0.2 * P[40:]  # most rows tell little
    lazy, _ = greedy(P, 4)
    n_gains = {}
    gains = module._Configurations.gains

    def counted(self, P, conditional):
        n_gains[len(self.shares)] = n_gains.get(len(self.shares), 0) + len(P)
        return gains(self, P, conditional)

    monkeypatch.setattr(module._Configurations, "gains", counted)
    assert_array_equal(greedy(P, 4)[0], lazy)
    assert n_gains[1000] < 200

    monkeypatch.setattr(module, "_refresh", everything)
    assert_array_equal(greedy(P, 4)[0], lazy)


def everything(bounds, joint, screens, P, conditional):
    gains, _ = joint.gains(P, conditional)
    return torch.where(torch.isinf(bounds), bounds, gains)


@pytest.mark.parametrize("screened", [True, False])
def test_screens_are_bounds(monkeypatch, screened):
    """What is known of part of the rows bounds the gain given all: no pick depends on it."""
    P = probabilities(300, 6, 15, concentration=0.3)
    made = []
    refresh = module._refresh

    def checked(bounds, joint, screens, P, conditional):
        exact, _ = joint.gains(P, conditional)
        for screen in screens:
            bound, error = screen.gains(P, conditional)
            assert error == 0.0 and (bound >= exact - 1e-12).all()
        made.append(len(screens))
        return refresh(bounds, joint, screens if screened else [], P, conditional)

    monkeypatch.setattr(module, "_refresh", checked)
    picks, _ = greedy(P, 4)
    assert made == [0, 2, 3]
    monkeypatch.setattr(module, "_refresh", everything)
    assert_array_equal(greedy(P, 4)[0], picks)


def test_drawn_is_lazy_and_nearly_eager(monkeypatch):
    """Bounds of draws are uncertain: the batch tells as much, and few rows are looked at."""
    P = probabilities(600, 3, 12, concentration=0.2)
    P[60:] = 0.7 * P[60:].mean(2, keepdim=True) + 0.3 * P[60:]
    n_gains = {}
    gains = module._Drawn.gains

    def counted(self, P, conditional):
        n_gains[len(self.shares)] = n_gains.get(len(self.shares), 0) + len(P)
        return gains(self, P, conditional)

    monkeypatch.setattr(module._Drawn, "gains", counted)
    lazy = [greedy(P, 6, m=600, seed=s)[0] for s in range(10)]
    assert n_gains[600] < 0.25 * 600 * 5 * 10
    monkeypatch.setattr(module, "_refresh", everything)
    eager = [greedy(P, 6, m=600, seed=s)[0] for s in range(10)]
    told = [[information(P, batch) for batch in batches] for batches in (lazy, eager)]
    assert np.mean(told[0]) > np.mean(told[1]) - 0.01


def test_a_copy_gains_no_more_than_the_row():
    P = probabilities(4, 3, 8)
    P = torch.cat([P, P[:1]])
    joint = module._Configurations(P, [0])
    conditional = torch.special.entr(P).sum(1).mean(1)
    gains, alone = joint.gains(P, conditional)[0], greedy(P, 1)[1]
    assert_allclose(gains[0], gains[4])
    assert gains[4] < alone[0] - 1e-3
    assert_allclose(gains[1], information(P, [0, 1]) - information(P, [0]))


def test_drawn_configurations_agree_with_all():
    P = probabilities(30, 3, 10, concentration=1.0)
    chosen = [3, 8, 20]
    conditional = torch.special.entr(P).sum(1).mean(1)
    exact, _ = module._Configurations(P, chosen).gains(P, conditional)
    drawn, errors = module._drawn(P, chosen, 40_000, np.random.RandomState(0)).gains(P, conditional)
    assert_allclose(drawn, exact, atol=4e-3)
    # Three standard errors: as far off as that, by the draws of one seed or another.
    off = [
        module._drawn(P, chosen, 400, np.random.RandomState(s)).gains(P, conditional)
        for s in range(50)
    ]
    z = torch.stack([(found - exact) / (error / 3) for found, error in off])
    # Each model draws as often, which makes the errors smaller than those of independent draws.
    assert 0.5 < z.std() < 1.1


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
