"""CoreSet against a brute-force farthest-first traversal in float64."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal import ActiveLearner
from skal.neural_network import NeuralNetRegressor
from skal.selection import KCenterGreedy
from skal.strategies import CoreSet
from skal.views import NetView

rng = np.random.RandomState(0)
X = rng.randn(80, 6) * [1, 1, 1, 1, 10, 0.1]
Y = X @ rng.randn(6)


def _farthest_first(Z, Z_labeled, n):
    nearest = cdist(Z, Z_labeled).min(1)
    picks = []
    for _ in range(n):
        pick = int(np.argmax(nearest))
        picks.append(pick)
        nearest = np.minimum(nearest, cdist(Z, Z[[pick]]).ravel())
    return picks


def test_on_the_inputs_of_any_estimator():
    model = make_pipeline(StandardScaler(), Ridge())
    strategy = CoreSet(model).fit(X[:20], Y[:20])
    Z = strategy.estimator_[0].transform(X)
    assert strategy.query(X[20:], 10).tolist() == _farthest_first(Z[20:], Z[:20], 10)
    rows, scores = strategy.query(X[20:], 1, return_scores=True)
    assert_allclose(scores, cdist(Z[20:], Z[:20]).min(1), rtol=1e-6)
    assert_allclose(strategy.transform(X), Z, rtol=1e-6)


def test_on_the_features_of_a_net_however_wrapped():
    net = NeuralNetRegressor(max_epochs=3, random_state=0)
    model = TransformedTargetRegressor(make_pipeline(StandardScaler(), net)).fit(X[:20], Y[:20])
    strategy = CoreSet(FrozenEstimator(model)).fit(X[:20], Y[:20])
    H = NetView(model).features(X).double().numpy()
    assert strategy.query(X[20:], 10).tolist() == _farthest_first(H[20:], H[:20], 10)
    inputs = CoreSet(FrozenEstimator(model), space="inputs").fit(X[:20])
    Z = model.regressor_[0].transform(X)
    assert inputs.query(X[20:], 10).tolist() == _farthest_first(Z[20:], Z[:20], 10)


def test_features_of_what_is_no_net_are_refused():
    with pytest.raises((TypeError, ValueError), match="CoreSet needs a fitted torch net but found"):
        CoreSet(make_pipeline(StandardScaler(), Ridge()), space="features").fit(X, Y)


def test_a_labelled_row_is_chosen_last():
    strategy = CoreSet(random_state=0).fit(X[:10])
    pool = np.vstack([X[3:4], X[10:]])
    assert strategy.query(pool, len(pool))[-1] == 0


def test_cold_start_covers_the_pool_as_preprocessed_from_the_pool_itself():
    learner = ActiveLearner(
        make_pipeline(StandardScaler(), NeuralNetRegressor()), CoreSet(), random_state=0
    )
    Z = StandardScaler().fit_transform(X)
    first = int(np.argmax(np.linalg.norm(Z, axis=1)))
    rows = learner.query(X, 5)
    assert rows.tolist() == [first, *_farthest_first(Z, Z[[first]], 4)]


def test_the_selector_is_a_parameter():
    strategy = CoreSet(selector=KCenterGreedy(metric="cosine")).fit(X[:20])
    rows, scores = strategy.query(X[20:], 1, return_scores=True)
    assert scores[rows[0]] == scores.max()
    assert not np.array_equal(strategy.query(X[20:], 10), CoreSet().fit(X[:20]).query(X[20:], 10))


def test_text_columns_are_encoded_and_other_objects_explained():
    strategy = CoreSet(random_state=0).fit(np.array([["a", "b"], ["c", "d"]]))
    assert strategy.query(np.array([["a", "b"], ["c", "d"], ["a", "d"]]), 1) == [2]
    with pytest.raises((TypeError, ValueError), match="Every cell of a table must hold one value"):
        CoreSet().fit([[{"a": 1}, {"b": 2}], [{"c": 3}, {"d": 4}]])


def test_sparse_inputs_equal_dense_ones():
    from scipy.sparse import csr_array

    expected = CoreSet().fit(X[:20]).query(X[20:], 8)
    assert_array_equal(CoreSet().fit(csr_array(X[:20])).query(csr_array(X[20:]), 8), expected)


def test_an_unknown_device_is_refused_without_a_net_too():
    with pytest.raises(ValueError, match="'device' parameter of CoreSet must be 'cpu', 'cuda'"):
        CoreSet(device="gpu").fit(X)
