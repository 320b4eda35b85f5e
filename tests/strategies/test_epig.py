"""EPIG against the definition by loops, log-determinants, and the bound by BALD."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import BaggingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge

from skal.neural_network import NeuralNetClassifier
from skal.strategies import BALD, EPIG
from skal.strategies import _epig as module
from skal.strategies._epig import expected_information, gaussian_information
from skal.strategies._measures import mutual_information

X, Y = load_iris(return_X_y=True)


def draws(rng, n, T=6, C=3):
    return torch.from_numpy(rng.dirichlet(np.ones(C), size=(T, n)))


def test_by_the_divergence_of_the_joint_law(rng, monkeypatch):
    monkeypatch.setattr(module, "_NUMBERS", 40)
    P, Q = draws(rng, 7), draws(rng, 5)
    expected = np.zeros(7)
    for i in range(7):
        for j in range(5):
            joint = np.mean([np.outer(p[i], q[j]) for p, q in zip(P, Q, strict=True)], axis=0)
            product = np.outer(joint.sum(1), joint.sum(0))
            expected[i] += (joint * np.log(joint / product)).sum() / 5
    found = expected_information(P, Q)
    assert_allclose(found, expected, rtol=1e-9)
    assert (found <= mutual_information(P) + 1e-12).all()


def test_nothing_to_learn_where_models_agree(rng):
    P, Q = draws(rng, 4), draws(rng, 4)
    same = P[:1].expand_as(P)
    assert_allclose(expected_information(same, Q), 0, atol=1e-12)
    assert_allclose(expected_information(P, Q[:1].expand_as(Q)), 0, atol=1e-12)
    assert_allclose(expected_information(P[:1], Q[:1]), 0, atol=1e-12)


def test_gaussian_form_by_determinants(rng, monkeypatch):
    monkeypatch.setattr(module, "_NUMBERS", 12)
    f, g = rng.standard_normal((8, 5, 2)), rng.standard_normal((8, 4, 2))
    expected = np.zeros(5)
    for i in range(5):
        for j in range(4):
            for k in range(2):
                S = np.cov(np.stack([f[:, i, k], g[:, j, k]]), bias=True) + 0.3 * np.eye(2)
                expected[i] += 0.5 * np.log(S[0, 0] * S[1, 1] / np.linalg.det(S)) / 8
    found = gaussian_information(torch.from_numpy(f), torch.from_numpy(g), 0.3)
    assert_allclose(found, expected, rtol=1e-9)


def test_rows_and_targets_are_answered_by_the_same_models():
    net = NeuralNetClassifier(module__dropout=0.5, max_epochs=3, random_state=0).fit(X, Y)
    strategy = EPIG(FrozenEstimator(net), n_passes=10, targets=X[:20], random_state=0).fit(X)
    P = torch.cat(list(strategy._passes(X)), dim=1)
    assert_allclose(strategy.transform(X)[:, 0], expected_information(P, P[:, :20]), rtol=1e-5)
    rows, scores = strategy.query(X, 3, return_scores=True)
    bald = BALD(FrozenEstimator(net), n_passes=10, random_state=0).fit(X)
    assert len(set(rows)) == 3 and (scores <= bald.transform(X)[:, 0] + 1e-6).all()


def test_only_rows_about_the_targets_are_of_use(rng):
    """Models answer two questions independently; BALD takes both, EPIG the one that counts."""
    first, second = draws(rng, 6, T=4), draws(rng, 6, T=4)
    models = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    P = torch.cat([first[models[:, 0]], second[models[:, 1]]], dim=1)
    found = expected_information(P, P[:, :6])
    assert (found[:6] > 1e-3).all()
    assert_allclose(found[6:], 0, atol=1e-12)
    assert (mutual_information(P) > 1e-3).all()


def test_regression_takes_the_noise_from_the_labels():
    D, T = load_diabetes(return_X_y=True)
    model = BaggingRegressor(Ridge(), 5, random_state=0).fit(D[:50], T[:50])
    strategy = EPIG(FrozenEstimator(model), random_state=0).fit(D[:50], T[:50])
    assert_allclose(strategy._noise_variance, np.mean((T[:50] - model.predict(D[:50])) ** 2))
    assert strategy.query(D[50:], 5).shape == (5,)
    with pytest.raises(ValueError, match=r"EPIG\(noise=None\) needs the labels of a regressor"):
        EPIG(FrozenEstimator(model)).fit(D[:50])


def test_what_is_no_committee_is_refused():
    with pytest.raises(ValueError, match="EPIG needs an ensemble"):
        EPIG(LogisticRegression(max_iter=500)).fit(X, Y).query(X)
