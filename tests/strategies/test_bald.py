"""The scores of random models, by their formulas, by enumeration, and from both kinds of models."""

from itertools import product

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import entropy
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor
from skal.strategies import BALD, BatchBALD, MeanStd, QueryByCommittee, VariationRatio
from skal.views import NetView

X, Y = load_iris(return_X_y=True)
ALL = [BALD, BatchBALD, VariationRatio, MeanStd]


@pytest.fixture(scope="module")
def model():
    net = NeuralNetClassifier(
        module__hidden=(8,), module__dropout=0.5, max_epochs=8, lr=0.02, random_state=0
    )
    return make_pipeline(StandardScaler(), net).fit(X, Y)


@pytest.fixture(scope="module")
def forest():
    return RandomForestClassifier(7, max_depth=2, random_state=0).fit(X[:, :2], Y)


def answers(strategy, rows):
    return torch.cat(list(strategy._passes(rows)), dim=1).exp().numpy()


@pytest.mark.parametrize("name", ["model", "forest"])
def test_scores_by_their_formulas(request, name):
    estimator = FrozenEstimator(request.getfixturevalue(name))
    rows = X if name == "model" else X[:, :2]
    found = {
        kind: kind(estimator, n_passes=11, random_state=0)
        .fit(rows)
        .query(rows, 5, return_scores=True)
        for kind in ALL
    }
    P = answers(BALD(estimator, n_passes=11, random_state=0).fit(rows), rows)
    assert len(P) == (11 if name == "model" else 7)
    bald = np.mean([entropy(p, P.mean(0), axis=1) for p in P], axis=0)
    assert_allclose(found[BALD][1], bald, atol=1e-12)
    assert_allclose(found[BatchBALD][1], bald, atol=1e-12)
    votes = np.stack([(P.argmax(2) == c).mean(0) for c in range(3)])
    assert_allclose(found[VariationRatio][1], 1 - votes.max(0), atol=1e-12)
    assert_allclose(found[MeanStd][1], P.std(0).mean(1), atol=1e-12)
    assert bald[found[BALD][0]].min() >= np.sort(bald)[-5] - 1e-12
    assert_allclose(bald[found[BatchBALD][0][0]], bald.max())


def test_a_committee_is_that_of_query_by_committee(forest):
    frozen, rows = FrozenEstimator(forest), X[:, :2]
    for kind, measure in ((BALD, "kl"), (VariationRatio, "variation_ratio")):
        committee = QueryByCommittee(frozen, measure=measure).fit(rows).transform(rows)
        assert_allclose(kind(frozen).fit(rows).transform(rows), committee, atol=1e-6)


def test_bald_of_two_units_by_all_masks():
    """The score of many passes is that of the four nets, weighted by their probability."""
    net = NeuralNetClassifier(
        module__hidden=(2,),
        module__dropout=0.3,
        module__activation="tanh",
        max_epochs=30,
        lr=0.1,
        random_state=0,
    ).fit(X, Y)
    view, rows = NetView(net), X[::15]
    H, W, b = view.features(rows).double(), *(p.detach().double() for p in view.head.parameters())
    mean, mean_entropy = 0, 0
    for mask in product((0.0, 1.0), repeat=2):
        weight = np.prod([0.7 if kept else 0.3 for kept in mask])
        P = torch.softmax(H * torch.tensor(mask) / 0.7 @ W.T + b, 1).numpy()
        mean, mean_entropy = mean + weight * P, mean_entropy + weight * entropy(P, axis=1)
    expected = entropy(mean, axis=1) - mean_entropy
    strategy = BALD(FrozenEstimator(net), n_passes=20_000, random_state=0).fit(X)
    assert expected.max() > 0.05
    assert_allclose(strategy.transform(rows)[:, 0], expected, atol=0.01)


@pytest.mark.parametrize("kind", ALL)
def test_rows_on_their_own_and_everything_left_alone(kind, model):
    module = model[-1].module_
    before = {name: value.clone() for name, value in module.state_dict().items()}
    flags = [part.training for part in module.modules()]
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    strategy = kind(FrozenEstimator(model), n_passes=9, random_state=3).fit(X, Y)
    rows = strategy.query(X, 6)
    Z = strategy.transform(X)
    assert_array_equal(strategy.query(X, 6), rows)
    assert_allclose(strategy.transform(X[[70, 3]]), Z[[70, 3]], atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert [part.training for part in module.modules()] == flags
    assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("kind", ALL)
def test_one_pass_tells_nothing_and_is_random(kind, model):
    frozen = FrozenEstimator(model)
    picks = [kind(frozen, n_passes=1, random_state=s).fit(X).query(X[:6], 2) for s in range(120)]
    counts = np.bincount(np.ravel(picks), minlength=6)
    assert counts.min() > 18
    assert_allclose(kind(frozen, n_passes=1).fit(X).transform(X), 0, atol=1e-7)


def test_a_batch_asks_no_copies():
    """Models that are sure of their answer answer a copy alike."""
    forest = RandomForestClassifier(10, random_state=0).fit(X[:, :2], Y)
    frozen = FrozenEstimator(forest)
    scores = BALD(frozen).fit(X[:, :2]).query(X[:, :2], return_scores=True)[1]
    rows = np.repeat(X[np.argsort(-scores)[[0, 10, 20, 30]], :2], 10, axis=0)
    assert set(BALD(frozen).fit(rows).query(rows, 4) // 10) == {0}
    batch = BatchBALD(frozen, random_state=0).fit(rows).query(rows, 4) // 10
    assert batch[0] == 0
    assert len(set(batch)) >= 3


def test_candidates_are_the_rows_of_largest_score(model):
    frozen = FrozenEstimator(model)
    every = BatchBALD(frozen, random_state=0).fit(X)
    few = BatchBALD(frozen, random_state=0, n_candidates=12).fit(X)
    rows, scores = few.query(X, 5, return_scores=True)
    assert set(rows) <= set(np.argsort(-scores)[:12])
    assert_array_equal(rows[:1], every.query(X, 1))
    assert_array_equal(np.sort(few.query(X, 150)), np.arange(150))
    all_rows = BatchBALD(frozen, random_state=0, n_candidates=150).fit(X).query(X, 5)
    assert_array_equal(all_rows, every.query(X, 5))


def test_in_a_learner(model):
    learner = ActiveLearner(model, BatchBALD(n_passes=5), random_state=0).fit(X[::10], Y[::10])
    assert len(set(learner.query(X, 4))) == 4
    bag = BaggingClassifier(LogisticRegression(max_iter=500), n_estimators=3, random_state=0)
    learner = ActiveLearner(bag, MeanStd(), random_state=0).fit(X[::10], Y[::10])
    assert len(set(learner.query(X, 4))) == 4


@pytest.mark.parametrize("kind", ALL)
def test_what_cannot_be_served(kind, model):
    name = kind.__name__
    regressor = NeuralNetRegressor(module__dropout=0.3, max_epochs=1)
    for estimator in (regressor, Ridge()):
        with pytest.raises(ValueError, match=f"{name} serves classification. Got .*ForestVariance"):
            kind(estimator).fit(X, Y).transform(X)
    with pytest.raises(ValueError, match=f"{name} needs an ensemble .* found LogisticRegression"):
        kind(LogisticRegression(max_iter=500)).fit(X, Y).transform(X)
    with pytest.raises(ValueError, match=f"{name} needs stochastic passes, and no dropout layer"):
        kind(NeuralNetClassifier(max_epochs=1)).fit(X, Y).transform(X)
    with pytest.raises(ValueError, match=f"'n_passes' parameter of {name} must be an int"):
        kind(FrozenEstimator(model), n_passes=0).fit(X).transform(X)


def test_too_many_candidates(model, monkeypatch):
    monkeypatch.setattr("skal.strategies._batch_bald._MAX_BYTES", 10_000)
    strategy = BatchBALD(FrozenEstimator(model)).fit(X)
    with pytest.raises(ValueError, match=r"3 x 50 probabilities of each of 150 .* n_candidates"):
        strategy.query(X, 2)
    assert len(BatchBALD(FrozenEstimator(model), n_candidates=8).fit(X).query(X, 2)) == 2
