"""MaxHerding, UHerding, ProbCover, ClusterMargin, DropQuery: what they add to their selectors."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.stats import entropy
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier
from skal.selection import BallCover, KernelHerding, TopK
from skal.strategies import ClusterMargin, DropQuery, MaxHerding, ProbCover, UHerding
from skal.strategies._measures import uncertainty
from skal.views import ModelView

X, Y = load_digits(return_X_y=True)
X = X / 16


@pytest.fixture(scope="module")
def model():
    return LogisticRegression(max_iter=500).fit(X[:100], Y[:100])


@pytest.fixture(scope="module")
def net():
    return NeuralNetClassifier(max_epochs=5, random_state=0).fit(
        X[:100].astype(np.float32), Y[:100]
    )


@pytest.mark.parametrize("measure", ["margin", "entropy", "least_confidence"])
def test_uncertainties_by_their_definition(measure, rng):
    P = rng.dirichlet(np.ones(5), size=20)
    top = np.sort(P, axis=1)[:, ::-1]
    expected = {
        "margin": 1 - (top[:, 0] - top[:, 1]),
        "least_confidence": 1 - top[:, 0],
        "entropy": entropy(P, axis=1),
    }
    assert_allclose(uncertainty(torch.from_numpy(P), measure), expected[measure])


def test_uherding_is_weighted_herding_of_features(net):
    strategy = UHerding(FrozenEstimator(net), temperature=2.0, random_state=0)
    strategy.fit(X[:100], Y[:100])
    rows = strategy.query(X[100:300], 10)
    H, log_P = ModelView(net).last_layer(X)
    P = torch.softmax(log_P / 2, 1)
    expected = KernelHerding(weighted=True, random_state=0).select(
        H[100:300], 10, Z_labeled=H[:100], scores=uncertainty(P[100:300], "margin")
    )
    assert np.array_equal(rows, expected)


def test_max_herding_serves_any_estimator_and_the_cold_start():
    picks = MaxHerding(FrozenEstimator(Ridge().fit(X[:20], Y[:20])), random_state=0)
    picks = picks.fit(X[:20]).query(X[20:200], 5)
    centred = KernelHerding(center=True, random_state=0)
    assert np.array_equal(picks, centred.select(X[20:200], 5, Z_labeled=X[:20]))
    learner = ActiveLearner(make_pipeline(StandardScaler(), Ridge()), MaxHerding(), random_state=0)
    assert len(set(learner.query(X[:200], 8))) == 8


def test_prob_cover_takes_its_clusters_from_the_classes(model):
    strategy = ProbCover(FrozenEstimator(model)).fit(X[:100])
    assert strategy._default_selector.n_clusters == 10
    assert isinstance(strategy._default_selector, BallCover)
    few = ProbCover(LogisticRegression()).fit(X[:100], Y[:100] > 4)
    assert few._default_selector.n_clusters == 2


def test_cluster_margin_with_a_factor_of_one_is_margin_sampling(model):
    strategy = ClusterMargin(FrozenEstimator(model), factor=1.0, random_state=0).fit(X[:100])
    rows, scores = strategy.query(X[100:500], 15, return_scores=True)
    top = np.sort(model.predict_proba(X[100:500]), axis=1)
    assert_allclose(scores, top[:, -2] - top[:, -1], atol=1e-12)
    assert set(rows) == set(TopK().select(scores[:, None], 15))


def test_drop_query_counts_the_passes_that_disagree(model):
    strategy = DropQuery(FrozenEstimator(model), n_passes=200, dropout=0.5, random_state=0)
    strategy.fit(X[:100])
    _, scores = strategy.query(X[100:200], 5, return_scores=True)
    masks = np.random.default_rng(0).uniform(size=(200, X.shape[1])) >= 0.5
    predicted = model.predict(X[100:200])
    expected = sum((model.predict(X[100:200] * mask / 0.5) != predicted) for mask in masks)
    # Other draws of the same law: 200 passes are within 5 standard deviations.
    assert np.abs(scores - expected).max() <= 5 * np.sqrt(2 * 200 * 0.25)
    assert np.corrcoef(scores, expected)[0, 1] > 0.95
    assert (
        not DropQuery(FrozenEstimator(model), dropout=0.0).fit(X[:100])._representation(X)[1].any()
    )


@pytest.mark.parametrize("strategy", [UHerding(), ClusterMargin(), DropQuery()])
def test_nets_with_one_logit(strategy):
    class OneLogit(torch.nn.Sequential):
        def __init__(self):
            super().__init__(torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))

    from skorch import NeuralNetBinaryClassifier

    target = (Y[:200] > 4).astype(np.float32)
    net = NeuralNetBinaryClassifier(OneLogit, max_epochs=2, verbose=0, train_split=None)
    net.fit(X[:200].astype(np.float32), target)
    bound = type(strategy)(FrozenEstimator(net), random_state=0).fit(X[:50].astype(np.float32))
    assert bound.query(X[200:300].astype(np.float32), 5).shape == (5,)
