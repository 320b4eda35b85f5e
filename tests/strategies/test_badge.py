"""BADGE's embedding against autograd, and its choice on factored rows against dense ones."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits, load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier
from skal.selection import KMeansPlusPlus
from skal.strategies import BADGE
from skal.views import NetView
from skal.views._last_layer import residuals

X, Y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def model():
    net = NeuralNetClassifier(module__hidden=(7,), max_epochs=5, random_state=0)
    return make_pipeline(StandardScaler(), net).fit(X, Y)


def _autograd(model, X, bias):
    """Gradient of the cross-entropy at the predicted label in the head, a row at a time."""
    view, gradients = NetView(model), []
    for row in torch.tensor(model[0].transform(X), dtype=torch.float32):
        view.module.zero_grad()
        logits = view.module(row[None])
        torch.nn.functional.cross_entropy(logits, logits.argmax(1)).backward()
        weight = view.head.weight.grad
        parts = [weight] if not bias else [weight, view.head.bias.grad[:, None]]
        gradients.append(torch.cat(parts, dim=1).ravel().clone())
    view.module.zero_grad()
    return torch.stack(gradients).numpy()


@pytest.mark.parametrize("bias", [False, True])
def test_the_embedding_is_the_gradient_of_the_last_layer(model, bias):
    strategy = BADGE(FrozenEstimator(model), bias=bias).fit(X)
    assert_allclose(strategy.transform(X), _autograd(model, X, bias), atol=1e-6)


def test_the_norm_is_the_least_over_all_labels(model):
    Z = BADGE(FrozenEstimator(model)).fit(X).transform(X)
    P = NetView(model).probabilities(X).numpy()
    h2 = (NetView(model).features(X).double().numpy() ** 2).sum(1)
    every_label = ((P**2).sum(1, keepdims=True) + 1 - 2 * P) * h2[:, None]
    assert_allclose((Z**2).sum(1), every_label.min(1), rtol=1e-5)


def test_blocks_sum_to_zero_over_classes(model):
    Z = BADGE(FrozenEstimator(model)).fit(X).transform(X).reshape(150, 3, 7)
    assert_allclose(Z.sum(1), 0, atol=1e-6)
    assert np.linalg.matrix_rank(Z.reshape(150, -1), tol=1e-5) <= 2 * 7


def test_confident_rows_keep_their_digits():
    logits = torch.tensor([[40.0, 0.0, 0.0], [0.0, 0.0, 30.0]], dtype=torch.float64)
    A = residuals(torch.log_softmax(logits, 1))
    tiny = np.exp(-40.0)
    assert_allclose(A[0], [-2 * tiny, tiny, tiny], rtol=1e-12)
    assert_allclose(A.sum(1), 0, atol=1e-30)


def test_the_choice_is_that_of_the_dense_embedding(model):
    strategy = BADGE(FrozenEstimator(model), random_state=0).fit(X)
    rows = strategy.query(X, 30)
    dense = strategy.transform(X).astype(np.float64)
    assert rows[0] == (dense**2).sum(1).argmax()
    second = np.zeros(150)
    for seed in range(800):
        first, pick = BADGE(FrozenEstimator(model), random_state=seed).fit(X).query(X, 2)
        second[pick] += 1
    weights = ((dense - dense[rows[0]]) ** 2).sum(1)
    expected = 800 * weights / weights.sum()
    # Chi-square over rows that are drawn often enough, the rest in one bin.
    often = expected > 8
    observed = np.append(second[often], second[~often].sum())
    expected = np.append(expected[often], expected[~often].sum())
    statistic = ((observed - expected) ** 2 / expected).sum()
    assert statistic < often.sum() + 4 * np.sqrt(2 * often.sum())


def test_multinomial_regression_is_its_own_last_layer():
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    Z = BADGE(FrozenEstimator(model), bias=True).fit(X).transform(X).reshape(150, 3, 5)
    P, H = model.predict_proba(X), np.hstack([model[0].transform(X), np.ones((150, 1))])
    A = P - np.eye(3)[P.argmax(1)]
    assert_allclose(Z, A[:, :, None] * H[:, None, :], atol=1e-6)


def test_two_classes_of_a_sigmoid_model_count_twice():
    binary = Y[:100]
    model = LogisticRegression().fit(X[:100], binary)
    Z = BADGE(FrozenEstimator(model)).fit(X[:100]).transform(X[:100])
    p = model.predict_proba(X[:100]).max(1)
    assert_allclose((Z**2).sum(1), 2 * (1 - p) ** 2 * (X[:100] ** 2).sum(1), rtol=1e-4)


def test_a_saturated_net_gives_a_uniform_batch():
    P = np.zeros((30, 3))
    log_P = torch.log(torch.eye(3, dtype=torch.float64)[torch.zeros(30, dtype=int)])
    assert torch.equal(residuals(log_P), torch.tensor(P))
    rows = KMeansPlusPlus(random_state=0).select(P, 10)
    assert len(np.unique(rows)) == 10


def test_the_dense_embedding_says_how_much_memory_it_would_need(model):
    strategy = BADGE(FrozenEstimator(model)).fit(X)
    rows = strategy._represent(X)
    with pytest.raises(ValueError, match="needs 12600 bytes, more than max_bytes=1000"):
        rows.dense(max_bytes=1000)


def test_what_has_no_linear_last_layer_is_refused():
    with pytest.raises(TypeError, match="BADGE needs a classifier with a linear last layer.*Gauss"):
        BADGE(GaussianNB()).fit(X, Y).transform(X)
    with pytest.raises(ValueError, match="BADGE serves classification. Got Ridge"):
        BADGE(Ridge()).fit(X, Y).transform(X)


def test_on_digits_the_batch_holds_many_classes():
    digits, labels = load_digits(return_X_y=True)
    net = NeuralNetClassifier(classes=range(10), max_epochs=20, random_state=0)
    learner = ActiveLearner(make_pipeline(StandardScaler(), net), BADGE(), random_state=0)
    learner.fit(digits[:100], labels[:100])
    rows = learner.query(digits[100:], 50)
    assert len(np.unique(labels[100:][rows])) >= 8
    assert_array_equal(rows, learner.query(digits[100:], 50))


def test_classes_that_a_linear_model_rules_out_cost_nothing():
    X = np.array([[-1.0], [1.0], [3.0]])
    model = LogisticRegression(C=1e6).fit(X, [0, 1, 2])
    strategy = BADGE(FrozenEstimator(model), random_state=0).fit(X, [0, 1, 2])
    assert model.predict_proba([[1e4]]).min() == 0  # its logarithm would warn
    np.testing.assert_array_equal(strategy.transform([[1e4]]), 0)
