"""Influence of labelled rows: against leaving them out, and on planted label errors."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal.inspection import influence
from skal.neural_network import NeuralNetClassifier
from skal.views import NetView

X, Y = load_digits(return_X_y=True)
X = X / 16


def test_influence_predicts_leaving_a_row_out():
    X, y = load_iris(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
    m = len(y_train)

    def fitted(rows):
        # C keeps the penalty of the mean loss as the row goes.
        return LogisticRegression(C=1.0 * m / len(rows), tol=1e-12, max_iter=20_000).fit(
            X_train[rows], y_train[rows]
        )

    model = fitted(np.arange(m))
    predicted = influence(model, X_train, y_train, X_test, y_test, damping=0.0)
    before = log_loss(y_test, model.predict_proba(X_test))
    actual = [
        log_loss(y_test, fitted(np.delete(np.arange(m), i)).predict_proba(X_test)) - before
        for i in range(m)
    ]
    # A row less makes the others count m / (m - 1) times: of the gradients, which sum to the
    # penalty's, next to nothing.
    assert np.corrcoef(predicted, actual)[0, 1] > 0.98
    assert np.polyfit(predicted, actual, 1)[0] == pytest.approx(1.0, abs=0.25)


def test_influence_is_that_of_explicit_gradients_through_a_net():
    net = NeuralNetClassifier(module__hidden=(5,), max_epochs=10, random_state=0)
    net.fit(X[:60], Y[:60])
    found = influence(net, X[:60], Y[:60], X[60:100], Y[60:100], damping=0.02, weight_decay=0.01)
    H, log_P = NetView(net).features_and_log_probabilities(X[:100])
    H = torch.cat([H.double(), torch.ones((100, 1), dtype=torch.float64)], 1)
    P, y = log_P.exp(), torch.as_tensor(Y[:100])
    G = torch.einsum("nk,nd->nkd", P - torch.nn.functional.one_hot(y, 10), H).flatten(1)
    A = torch.zeros((60, 60), dtype=torch.float64)
    for p, h in zip(P[:60], H[:60], strict=True):
        A += torch.kron(torch.diag(p) - torch.outer(p, p), torch.outer(h, h)) / 60
    A += 0.03 * torch.eye(60)
    expected = G[:60] @ torch.linalg.solve(A, G[60:].mean(0)) / 60
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(max_iter=300),
        make_pipeline(StandardScaler(), NeuralNetClassifier(max_epochs=20, random_state=0)),
    ],
    ids=["logistic", "net"],
)
def test_planted_label_errors_are_found(model):
    # A tenth of the training labels is wrong; the rows that judge them are others, and clean.
    X_train, X_test, y_train, y_test = train_test_split(
        X, Y, test_size=0.4, stratify=Y, random_state=0
    )
    rng = np.random.RandomState(0)
    flipped = rng.permutation(len(y_train))[: len(y_train) // 10]
    y_given = y_train.copy()
    y_given[flipped] = (y_train[flipped] + rng.randint(1, 10, len(flipped))) % 10
    change = influence(model.fit(X_train, y_given), X_train, y_given, X_test, y_test)
    precision = average_precision_score(np.isin(np.arange(len(y_train)), flipped), -change)
    assert precision > 0.8


def test_names_and_probabilities_are_those_of_the_estimator():
    names = np.array(list("abcdefghij"))[Y]
    model = LogisticRegression(max_iter=300)
    by_number = influence(model.fit(X[:80], Y[:80]), X[:80], Y[:80], X[80:120], Y[80:120])
    model.fit(X[:80], names[:80])
    by_name = influence(model, X[:80], names[:80], X[80:120], names[80:120])
    np.testing.assert_allclose(by_name, by_number, rtol=1e-6)


def test_what_cannot_work_is_refused():
    model = LogisticRegression(max_iter=300).fit(X[:80], Y[:80])
    good = (X[:80], Y[:80], X[80:], Y[80:])
    with pytest.raises(ValueError, match="must not be negative"):
        influence(model, *good, damping=-1.0)
    with pytest.raises(ValueError, match="labels that the model does not know"):
        influence(model, X[:80], Y[:80] + 50, X[80:], Y[80:])
    with pytest.raises(ValueError, match="inconsistent|same length|number of"):
        influence(model, X[:80], Y[:79], X[80:], Y[80:])
    with pytest.raises(ValueError, match="influence serves classification"):
        influence(Ridge().fit(X[:80], Y[:80]), *good)
