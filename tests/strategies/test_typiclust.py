"""TypiClust on blobs, with every kind of estimator, and before any label is known."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal import ActiveLearner
from skal.neural_network import NeuralNetRegressor
from skal.selection import KCenterGreedy, TypicalClusters
from skal.strategies import TypiClust
from skal.views import NetView

X, BLOB = make_blobs([60, 50, 40, 30], 4, cluster_std=0.2, random_state=0)


def test_covered_blobs_are_skipped():
    labelled = [np.flatnonzero(BLOB == 0)[0], np.flatnonzero(BLOB == 2)[0]]
    strategy = TypiClust(random_state=0).fit(X[labelled])
    assert BLOB[strategy.query(X, 2)].tolist() == [1, 3]


@pytest.mark.parametrize("predictor", [Ridge(), LogisticRegression(), NeuralNetRegressor()])
def test_cold_start_for_any_estimator(predictor):
    learner = ActiveLearner(make_pipeline(StandardScaler(), predictor), TypiClust(), random_state=0)
    rows = learner.query(X, 4)
    assert BLOB[rows].tolist() == [0, 1, 2, 3]
    learner.teach(X[rows], [0, 1, 0, 1])
    assert len(set(learner.query(X, 5))) == 5


def test_on_the_features_of_a_net():
    net = NeuralNetRegressor(module__hidden=(8,), max_epochs=3, random_state=0)
    net.fit(X, X[:, 0])
    strategy = TypiClust(FrozenEstimator(net), random_state=0).fit(X[:5])
    H = NetView(net).features(X).numpy()
    assert_array_equal(strategy.transform(X), H)
    inputs = TypiClust(FrozenEstimator(net), space="inputs", random_state=0).fit(X[:5])
    assert_array_equal(inputs.transform(X), X.astype(np.float32))


def test_parameters_reach_the_selector():
    strategy = TypiClust(n_neighbors=3, max_clusters=2, min_cluster_size=1, random_state=0)
    selector = TypicalClusters(n_neighbors=3, max_clusters=2, min_cluster_size=1)
    named = TypiClust(selector=selector, random_state=0).fit(X[:3])
    assert_array_equal(strategy.fit(X[:3]).query(X, 9), named.query(X, 9))
    other = TypiClust(random_state=0).fit(X[:3])
    assert not np.array_equal(strategy.query(X, 9), other.query(X, 9))


def test_another_selector():
    strategy = TypiClust(selector=KCenterGreedy()).fit(X[:1])
    nearest = np.linalg.norm(X - X[0], axis=1)
    assert strategy.query(X, 1).tolist() == [nearest.argmax()]


def test_features_of_what_is_no_net_are_refused():
    with pytest.raises(TypeError, match="TypiClust needs a fitted torch net but found Ridge"):
        TypiClust(Ridge(), space="features").fit(X, X[:, 0])
