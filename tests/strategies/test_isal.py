"""ISAL: its score against explicit gradients and a dense Hessian."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss

from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier
from skal.strategies import ISAL
from skal.views import NetView

X, Y = load_digits(return_X_y=True)
X = X / 16
NET = NeuralNetClassifier(module__hidden=(5,), max_epochs=10, random_state=0).fit(X[:60], Y[:60])


@pytest.mark.parametrize("reference", ["labeled", (X[60:100], Y[60:100])], ids=["own", "held out"])
def test_scores_are_those_of_explicit_gradients(reference):
    pool = X[100:130]
    strategy = ISAL(FrozenEstimator(NET), reference=reference, damping=0.02, weight_decay=0.01)
    scores = strategy.fit(X[:60], Y[:60]).transform(pool)[:, 0]

    def gradients(rows, labels=None):
        H, log_P = NetView(NET).features_and_log_probabilities(rows)
        H = torch.cat([H.double(), torch.ones((len(H), 1), dtype=torch.float64)], 1)
        P = log_P.exp()
        labels = P.argmax(1) if labels is None else torch.as_tensor(labels)
        R = P - torch.nn.functional.one_hot(labels, 10)
        return H, P, torch.einsum("nk,nd->nkd", R, H).flatten(1)

    H, P, own = gradients(X[:60], Y[:60])
    A = 0.03 * torch.eye(60, dtype=torch.float64)
    for p, h in zip(P, H, strict=True):
        A += torch.kron(torch.diag(p) - torch.outer(p, p), torch.outer(h, h)) / 60
    R = own if isinstance(reference, str) else gradients(*reference)[2]
    expected = gradients(pool)[2] @ torch.linalg.solve(A, R.mean(0))
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-7)


def test_rows_that_are_predicted_right_lower_the_loss_in_the_order_predicted():
    train, val, pool = slice(0, 100), slice(100, 400), np.arange(400, 500)
    model = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(X[train], Y[train])
    strategy = ISAL(FrozenEstimator(model), reference=(X[val], Y[val]), damping=0.0)
    scores = strategy.fit(X[train], Y[train]).transform(X[pool])[:, 0]
    before = log_loss(Y[val], model.predict_proba(X[val]))
    gains = []
    for row in pool:
        more = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000)
        label = model.predict(X[[row]])
        more.fit(np.vstack([X[train], X[[row]]]), np.append(Y[train], label))
        gains.append(before - log_loss(Y[val], more.predict_proba(X[val])))
    assert np.corrcoef(scores, gains)[0, 1] > 0.9


def test_the_largest_scores_are_asked():
    learner = ActiveLearner(LogisticRegression(max_iter=500), ISAL(), random_state=0)
    learner.fit(X[:80], Y[:80])
    rows, scores = learner.query(X[80:300], 7, return_scores=True)
    np.testing.assert_array_equal(np.sort(rows), np.sort(np.argsort(-scores)[:7]))


def test_what_cannot_work_is_refused():
    frozen = FrozenEstimator(NET)
    with pytest.raises(ValueError, match="needs the labels"):
        ISAL(frozen).fit(X[:60])
    with pytest.raises(ValueError, match=r"must be 'labeled' or a pair"):
        ISAL(frozen, reference=(X, Y, Y)).fit(X[:60], Y[:60])
    with pytest.raises(ValueError, match="labels that the model does not know"):
        ISAL(frozen, reference=(X[:5], Y[:5] + 70)).fit(X[:60], Y[:60])
    with pytest.raises(ValueError, match="ISAL serves classification"):
        ISAL(FrozenEstimator(Ridge().fit(X[:60], Y[:60]))).fit(X[:60], Y[:60])
