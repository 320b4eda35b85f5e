"""The closed form against the loop over caps, autograd, and bisection on the head itself."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from skal.strategies import ALFAMix
from skal.strategies._alfa_mix import flip_caps

N, D, C = 60, 7, 4


@pytest.fixture
def head(rng):
    Z = torch.from_numpy(rng.standard_normal((N, D))).clamp_min(0)  # some units are dead
    W, b = torch.from_numpy(rng.standard_normal((C, D))), torch.from_numpy(rng.standard_normal(C))
    anchors = torch.from_numpy(rng.standard_normal((C, D))).clamp_min(0)
    return Z, W, b, anchors


def displaced(Z, W, b, anchor, cap, mask):
    """Move rows as the authors do, with the gradient by autograd."""
    Z = Z.clone().requires_grad_()
    logits = Z @ W.T + b
    loss = torch.nn.functional.cross_entropy(logits, logits.argmax(1).detach(), reduction="sum")
    (G,) = torch.autograd.grad(loss, Z)
    Z = Z.detach()
    step = cap / D**0.5 * (anchor - Z).norm(dim=1, keepdim=True) * G / G.norm(dim=1, keepdim=True)
    return Z + step * (anchor != Z) if mask else Z + step


@pytest.mark.parametrize("mask", [True, False])
def test_rows_flip_just_above_their_cap(head, mask):
    Z, W, b, anchors = head
    log_P = torch.log_softmax(Z @ W.T + b, 1)
    caps = flip_caps(Z, log_P, W, anchors, mask)
    predicted = log_P.argmax(1)
    finite = torch.isfinite(caps)
    assert finite.any()
    for factor, flips in [(1 + 1e-6, True), (1 - 1e-6, False)]:
        for i in torch.nonzero(finite).ravel().tolist():
            moved = [
                displaced(Z[i : i + 1], W, b, anchor, factor * caps[i], mask) for anchor in anchors
            ]
            changed = [int((z @ W.T + b).argmax()) != int(predicted[i]) for z in moved]
            assert any(changed) == flips
    for i in torch.nonzero(~finite).ravel().tolist():
        for anchor in anchors:
            z = displaced(Z[i : i + 1], W, b, anchor, 1e3, mask)
            assert int((z @ W.T + b).argmax()) == int(predicted[i])


def test_scaling_features_against_weights_changes_nothing(head):
    Z, W, b, anchors = head
    log_P = torch.log_softmax(Z @ W.T + b, 1)
    found = flip_caps(8 * Z, log_P, W / 8, 8 * anchors, True)
    assert_allclose(found, flip_caps(Z, log_P, W, anchors, True), rtol=1e-9)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    X = X / 16
    return X, y, LogisticRegression(max_iter=500).fit(X[:100], y[:100])


def test_scores_and_batches(digits):
    X, y, model = digits
    strategy = ALFAMix(FrozenEstimator(model), random_state=0).fit(X[:100], y[:100])
    rows, scores = strategy.query(X[100:], 20, return_scores=True)
    caps = -scores
    level = next(cap for cap in strategy._caps() if (caps < cap).sum() >= 20)
    assert (caps[rows] < level).all() and caps.max() <= 2.0
    assert_allclose(strategy.transform(X[:5]), X[:5], rtol=1e-6)


def test_random_mixtures_are_repeated_and_bounded(digits):
    X, y, model = digits
    strategy = ALFAMix(FrozenEstimator(model), mode="random", eps_max=0.25, random_state=0)
    strategy.fit(X[:100], y[:100])
    rows, scores = strategy.query(X[100:400], 10, return_scores=True)
    assert np.array_equal(rows, strategy.query(X[100:400], 10))
    assert len(set(np.round(scores, 9))) <= len(strategy._caps()) + 1


def test_one_labelled_class_and_no_labels(digits):
    X, y, model = digits
    one = y[:100] == 3
    strategy = ALFAMix(FrozenEstimator(model), random_state=0).fit(X[:100][one], y[:100][one])
    assert torch.equal(strategy._anchors, strategy._anchors[:1].expand_as(strategy._anchors))
    with pytest.raises(ValueError, match=r"ALFAMix needs the labels: fit\(X, y\)"):
        ALFAMix(FrozenEstimator(model)).fit(X[:100])
