"""Ensembles of nets: the training length comes from held-out rows, the answer from all nets."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.pipeline import make_pipeline

from skal import ActiveLearner
from skal.models import NetEnsembleClassifier, NetEnsembleRegressor
from skal.models._folds import deal_folds
from skal.models._rows import distinct_rows
from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor
from skal.preprocessing import TablePreprocessor
from skal.strategies import QueryByCommittee
from skal.utils._random import child_seed, draw_seed

SMALL = {"n_estimators": 2, "max_epochs": 20, "random_state": 0}


def data(n=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)).astype(np.float32)
    return X, (X[:, 0] + 0.1 * rng.normal(size=n)).astype(np.float64)


def test_the_prediction_is_the_mean_of_nets_with_different_seeds():
    X, y = data()
    nets = NetEnsembleRegressor(**SMALL).fit(X, y)
    answers = [member.predict(X) for member in nets.estimators_]
    assert not np.allclose(*answers)
    np.testing.assert_allclose(nets.predict(X), np.mean(answers, axis=0))
    assert {member.max_epochs for member in nets.estimators_} == {nets.n_epochs_}


def test_the_losses_are_those_of_nets_trained_without_their_fold():
    X, y = data()
    nets = NetEnsembleRegressor(**SMALL).fit(X, y)
    seed = draw_seed(0)
    first, _ = distinct_rows(X, y, np.ones(len(y)))
    X, y = X[first], y[first]
    fold = deal_folds(y, np.random.RandomState(child_seed(seed, 0)), 3)
    squared = 0.0
    for number in range(3):
        net = NeuralNetRegressor(
            standardize_y=True,
            batch_size=16,
            module__dropout=0.1,
            max_epochs=5,
            random_state=child_seed(seed, 1, number),
        )
        inside = fold != number
        net.partial_fit(X[inside], y[inside]).partial_fit(X[inside], y[inside])
        squared += ((net.predict(X[~inside]) - y[~inside]) ** 2).sum()
    assert nets.validation_losses_[1] == pytest.approx(squared / len(y))
    assert nets.n_epochs_ == 5 * (1 + np.argmin(nets.validation_losses_))


def test_noise_is_trained_on_briefly_and_structure_longer():
    X, y = data(60)
    noise = np.random.default_rng(1).normal(size=60)
    long = NetEnsembleRegressor(n_estimators=1, max_epochs=60, random_state=0).fit(X, y)
    short = NetEnsembleRegressor(n_estimators=1, max_epochs=200, random_state=0).fit(X, noise)
    assert short.n_epochs_ <= 10 < long.n_epochs_
    # 40 epochs without a lower loss end the search.
    assert len(short.validation_losses_) < 20


def test_probabilities_are_the_mean_of_the_nets():
    X, y = data()
    labels = np.array(["low", "mid", "high"])[np.digitize(y, [-0.5, 0.5])]
    nets = NetEnsembleClassifier(**SMALL).fit(X, labels)
    P = nets.predict_proba(X)
    assert nets.classes_.tolist() == ["high", "low", "mid"]
    np.testing.assert_allclose(P.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(P, np.mean([m.predict_proba(X) for m in nets.estimators_], axis=0))
    np.testing.assert_array_equal(nets.predict(X), nets.classes_[P.argmax(axis=1)])


def test_a_class_that_a_fold_misses():
    X, y = data(12)
    labels = (y > 0).astype(int)
    labels[0] = 2
    assert NetEnsembleClassifier(**SMALL).fit(X, labels).predict_proba(X).shape == (12, 3)


@pytest.mark.parametrize("cls", [NetEnsembleRegressor, NetEnsembleClassifier])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_labels(cls, n):
    X, y = data(5)
    y = y if cls is NetEnsembleRegressor else np.arange(5)
    nets = pickle.loads(pickle.dumps(cls(**SMALL).fit(X[:n], y[:n])))
    assert nets.predict(X).shape == (5,)


def test_repeated_rows_are_weights():
    X, y = data(12)
    repeated = np.r_[np.arange(12), [3, 3]]
    nets = NetEnsembleRegressor(**SMALL)
    one = clone(nets).fit(X, y, sample_weight=np.bincount(repeated))
    other = clone(nets).fit(X[repeated], y[repeated])
    np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-5)


def test_the_seed_decides():
    X, y = data(20)
    nets = NetEnsembleRegressor(**SMALL)
    one, other = clone(nets).fit(X, y).predict(X), clone(nets).fit(X, y).predict(X)
    np.testing.assert_array_equal(one, other)
    assert not np.allclose(one, clone(nets).set_params(random_state=1).fit(X, y).predict(X))


def test_another_net_is_cloned_and_kept_as_it_is():
    X, y = data(20)
    net = NeuralNetRegressor(module__hidden=(7,), max_epochs=3)
    nets = NetEnsembleRegressor(net, **SMALL).fit(X, y)
    assert nets.estimators_[0].module_.head.in_features == 7
    assert net.max_epochs == 3 and not hasattr(net, "n_outputs_")


def test_anything_but_a_net_is_an_error():
    X, y = data(20)
    with pytest.raises(TypeError, match="must be a NeuralNetRegressor. Got NeuralNetClassifier"):
        NetEnsembleRegressor(NeuralNetClassifier()).fit(X, y)
    with pytest.raises(ValueError, match="'estimator' parameter of NetEnsembleRegressor"):
        NetEnsembleRegressor(RandomForestRegressor()).fit(X, y)


@pytest.mark.parametrize("cls", [NetEnsembleRegressor, NetEnsembleClassifier])
def test_its_nets_are_a_committee(cls):
    X, y = data(30)
    y = y if cls is NetEnsembleRegressor else np.where(y > 0, "b", "a")
    model = make_pipeline(TablePreprocessor(), cls(**SMALL))
    learner = ActiveLearner(model, QueryByCommittee(), random_state=0).fit(X[:15], y[:15])
    assert len(set(learner.query(X[15:], 4))) == 4
