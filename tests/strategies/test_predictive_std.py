"""PredictiveStd against the closed form of Gaussian processes and Bayesian ridge."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import ARDRegression, BayesianRidge, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal import ActiveLearner
from skal.strategies import PredictiveStd, _predictive_std

X, Y = load_diabetes(return_X_y=True)
LABELED, POOL = np.arange(40), np.arange(40, 442)


def test_the_posterior_of_a_gaussian_process():
    kernel = RBF(0.1)
    model = GaussianProcessRegressor(kernel, alpha=0.1, optimizer=None)
    K, k = kernel(X[LABELED]), kernel(X[POOL], X[LABELED])
    variance = 1 - np.einsum("ij,ij->i", k @ np.linalg.inv(K + 0.1 * np.eye(40)), k)
    strategy = PredictiveStd(model).fit(X[LABELED], Y[LABELED])
    assert_allclose(strategy.transform(X[POOL])[:, 0], np.sqrt(variance), rtol=1e-4)
    assert_array_equal(strategy.query(X[POOL], 5), np.argsort(-variance)[:5])


@pytest.mark.parametrize("model", [BayesianRidge(), ARDRegression()])
def test_bayesian_linear_models_however_wrapped(model):
    learner = ActiveLearner(model, PredictiveStd(), random_state=0).fit(X[LABELED], Y[LABELED])
    std = learner.estimator_.predict(X[POOL], return_std=True)[1]
    assert_array_equal(learner.query(X[POOL], 5), np.argsort(-std)[:5])
    wrapped = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), model), transformer=StandardScaler()
    )
    learner = ActiveLearner(wrapped, PredictiveStd(), random_state=0).fit(X[LABELED], Y[LABELED])
    scaler, inner = (step for _, step in learner.estimator_.regressor_.steps)
    std = inner.predict(scaler.transform(X[POOL]), return_std=True)[1]
    rows, scores = learner.query(X[POOL], 5, return_scores=True)
    assert_allclose(scores, std)
    assert_array_equal(rows, np.argsort(-std)[:5])


def test_several_outputs_add_their_variances():
    targets = np.column_stack([Y, X[:, 0] * 100])
    model = GaussianProcessRegressor(RBF(0.1) + WhiteKernel(0.1), normalize_y=True)
    strategy = PredictiveStd(model, random_state=0).fit(X[LABELED], targets[LABELED])
    std = strategy.estimator_.predict(X[POOL], return_std=True)[1]
    assert std.shape == (402, 2)
    expected = np.sqrt((std**2).sum(1))
    assert_allclose(strategy.transform(X[POOL])[:, 0], expected, rtol=1e-5)


def test_pieces_of_the_pool_give_the_same(monkeypatch):
    strategy = PredictiveStd(BayesianRidge()).fit(X[LABELED], Y[LABELED])
    whole = strategy.transform(X[POOL])
    monkeypatch.setattr(_predictive_std, "_ROWS", 7)
    assert_allclose(strategy.transform(X[POOL]), whole)


def test_regressors_that_predict_no_deviation_are_refused_with_a_remedy():
    learner = ActiveLearner(make_pipeline(StandardScaler(), Ridge()), PredictiveStd())
    with pytest.raises(ValueError, match="found Ridge in Pipeline.*n_bootstraps"):
        learner.fit(X[LABELED], Y[LABELED]).query(X, 1)
    learner = ActiveLearner(LogisticRegression(), PredictiveStd())
    with pytest.raises(ValueError, match="serves regression"):
        learner.fit(X[LABELED], Y[LABELED] > 150).query(X, 1)
