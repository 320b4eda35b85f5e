"""The channel estimated from predictions that have not seen the labels."""

import itertools

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_blobs
from skorch.callbacks import Checkpoint

from skal.neural_network import NoisyChannelClassifier
from skal.neural_network._cross_fitting import _PRIOR, estimate_channel, split_in_folds


def _counts(labels, y, n_classes):
    counts = np.zeros((n_classes, n_classes))
    np.add.at(counts, (labels, y), 1.0)
    return counts


def _noisy(y, n_classes, rng, rate=0.3):
    other = (y + rng.randint(1, n_classes, len(y))) % n_classes
    return np.where(rng.rand(len(y)) < rate, other, y)


def test_known_classes_leave_the_counts_and_the_prior():
    rng = np.random.RandomState(0)
    y = rng.randint(0, 4, 500)
    labels = _noisy(y, 4, rng)
    log_P = torch.full((500, 4), -60.0, dtype=torch.float64)
    log_P[range(500), y] = 0.0
    expected = _counts(labels, y, 4) + _PRIOR * np.eye(4)
    assert_allclose(estimate_channel(log_P, labels)[0], expected / expected.sum(0), atol=1e-6)
    weight = rng.randint(1, 4, 500)
    repeated = estimate_channel(
        log_P.repeat_interleave(torch.tensor(weight), 0), labels.repeat(weight)
    )
    assert_allclose(estimate_channel(log_P, labels, weight)[0], repeated[0], atol=1e-9)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
def test_nets_that_are_too_sure_or_not_sure_enough(temperature):
    rng = np.random.RandomState(1)
    true = 2.5 * rng.randn(20000, 3)
    P = np.exp(true - true.max(1, keepdims=True))
    P /= P.sum(1, keepdims=True)
    y = (P.cumsum(1) > rng.rand(20000, 1)).argmax(1)
    W = np.array([[0.8, 0.1, 0.0], [0.2, 0.7, 0.4], [0.0, 0.2, 0.6]])
    labels = (W[:, y].T.cumsum(1) > rng.rand(20000, 1)).argmax(1)
    found, t = estimate_channel(torch.as_tensor(np.log(P) * temperature), labels)
    assert t == pytest.approx(temperature, rel=0.1)
    assert_allclose(found, W, atol=0.03)


def test_no_channel_on_a_grid_is_more_likely():
    rng = np.random.RandomState(2)
    log_P = torch.log_softmax(torch.tensor(rng.randn(12, 2) * 2), 1)
    labels = rng.randint(0, 2, 12)

    def likelihood(W, t):
        Q = torch.softmax(log_P / t, 1)
        found = (Q * W[labels]).sum(1).log().sum() + _PRIOR * W.diagonal().log().sum()
        return float(found)

    W, t = estimate_channel(log_P, labels)
    best = likelihood(W, t)
    steps, temperatures = np.linspace(0.5, 0.99, 25), np.geomspace(0.05, 2, 25)
    for a, b, other in itertools.product(steps, steps, temperatures):
        grid = torch.tensor([[a, 1 - b], [1 - a, b]])
        assert likelihood(grid, other) <= best + 1e-3


def test_a_class_without_rows_keeps_the_identity():
    log_P = torch.log(torch.tensor([[0.98, 0.02, 0.0], [0.01, 0.99, 0.0]]).double() + 1e-30)
    W, _ = estimate_channel(log_P.repeat(20, 1), np.arange(40) % 2)
    assert_allclose(W[:, 2], [0, 0, 1], atol=1e-6)
    assert_allclose(W.sum(0), 1)
    assert_allclose(estimate_channel(torch.zeros(3, 1).double(), np.zeros(3, int))[0], [[1.0]])


def test_folds_hold_every_label_alike():
    labels = np.repeat([0, 1, 2], [40, 13, 1])
    folds = split_in_folds(labels, 4, np.random.RandomState(0))
    table = np.array([np.bincount(labels[folds == k], minlength=3) for k in range(4)])
    assert (np.ptp(table, axis=0) <= 1).all() and table.sum() == 54
    assert not np.array_equal(folds, split_in_folds(labels, 4, np.random.RandomState(1)))


# ---------------------------------------------------------------------- the classifier


def _separable(n=1200, seed=0):
    angles = 2 * np.pi * np.arange(5) / 5
    centers = 8 * np.column_stack([np.cos(angles), np.sin(angles)])
    X, y = make_blobs(n, centers=centers, random_state=seed)
    X = (X - X.mean(0)) / X.std(0)
    labels = _noisy(y, 5, np.random.RandomState(seed))
    counts = _counts(labels, y, 5)
    return X, y, labels, counts / counts.sum(0)


@pytest.mark.parametrize(
    "n, epochs, batch_size",
    [
        (1200, 40, 128),
        pytest.param(4000, 40, 64, marks=pytest.mark.slow),
        pytest.param(4000, 200, 64, marks=pytest.mark.slow),
        pytest.param(4000, 1000, 64, marks=pytest.mark.slow),
    ],
)
def test_the_channel_is_found_however_long_the_net_trains(n, epochs, batch_size):
    X, y, labels, realised = _separable(n)
    net = NoisyChannelClassifier(max_epochs=epochs, batch_size=batch_size, random_state=0)
    net.fit(X, labels)
    assert abs(net.noise_channel_ - realised).max() <= 0.05
    assert net.score(X, y) > 0.97


def test_no_net_predicts_rows_it_was_trained_on(monkeypatch):
    X, _, labels, _ = _separable(90)
    trained, predicted = [], []

    class Spy:
        def fit(self, X, y, sample_weight=None):
            trained.append({tuple(row) for row in np.asarray(X)})
            self.classes = y

        def _outputs(self, X):
            predicted.append({tuple(row) for row in np.asarray(X)})
            return torch.zeros(len(X), 5)

        def _log_probabilities(self, outputs):
            return torch.log_softmax(outputs.double(), 1)

    monkeypatch.setattr(NoisyChannelClassifier, "_without_channel", lambda self, seed: Spy())
    NoisyChannelClassifier(max_epochs=1, random_state=0).fit(X, labels)
    assert len(trained) == 4 and sum(map(len, predicted)) == 90
    assert all(not (one & other) for one, other in zip(trained, predicted, strict=True))


def test_what_is_estimated_once_stays(tmp_path):
    X, _, labels, _ = _separable(200)
    params = {"max_epochs": 3, "warm_start": True, "random_state": 0}
    checkpoint = Checkpoint(monitor=None, dirname=str(tmp_path / "own"))
    net = NoisyChannelClassifier(callbacks=[checkpoint], **params).fit(X, labels)
    before, temperature = net.noise_channel_, net.temperature_
    assert_array_equal(net.fit(X, labels).noise_channel_, before)
    assert_array_equal(net.partial_fit(X, labels).noise_channel_, before)
    assert net.temperature_ == temperature and not net.noise_layer_.weight.requires_grad
    again = clone(net).fit(X, labels)
    assert_array_equal(again.noise_channel_, before)
    joint = clone(net).set_params(estimate="joint").fit(X, labels)
    assert not hasattr(joint, "temperature_") and joint.noise_layer_.weight.requires_grad


def test_estimation_starts_at_a_given_channel():
    X, _, labels, _ = _separable(400)
    # Every label is taken for the next class: a permutation that the likelihood cannot tell apart.
    turned = 0.7 * np.roll(np.eye(5), 1, axis=0) + 0.06
    net = NoisyChannelClassifier(channel=turned / turned.sum(0), max_epochs=40, random_state=0)
    assert_allclose(net.fit(X, labels).noise_channel_.sum(0), 1, atol=1e-6)


def test_parameters_of_joint_training_choose_it():
    X, _, labels, _ = _separable(100)
    for params in ({"update": "paper"}, {"channel_lr": 0.1}):
        net = NoisyChannelClassifier(max_epochs=1, **params).fit(X, labels)
        assert net.noise_layer_.weight.requires_grad and not hasattr(net, "temperature_")
        with pytest.raises(ValueError, match="with estimate='cross_fitted' instead"):
            clone(net).set_params(estimate="cross_fitted").fit(X, labels)
    known = np.full((5, 5), 0.05) + 0.75 * np.eye(5)
    net = NoisyChannelClassifier(channel=known, trainable=False, max_epochs=1).fit(X, labels)
    assert_allclose(net.noise_channel_, known)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_very_few_rows(n):
    X, _, labels, _ = _separable(60)
    net = NoisyChannelClassifier(classes=range(5), max_epochs=1, random_state=0)
    assert_allclose(net.fit(X[:n], labels[:n]).noise_channel_.sum(0), 1, atol=1e-6)
