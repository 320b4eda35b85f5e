"""Learners around nets: skal's own and plain skorch ones, on tables, images and dicts of arrays."""

import pickle
import signal

import numpy as np
import pandas as pd
import pytest
import skorch
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.datasets import load_diabetes, load_digits
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skorch.helper import SliceDict

from skal import ActiveLearner
from skal.datasets import fetch_ames_housing
from skal.model_selection import BudgetedActiveLearner
from skal.neural_network import MLP, NeuralNetClassifier, NeuralNetRegressor
from skal.selection import KCenterGreedy, KMeansPlusPlus
from skal.strategies import CoreSet, EntropySampling, MarginSampling

X, Y = load_diabetes(return_X_y=True)
X32, Y32 = X.astype(np.float32), Y.astype(np.float32) / 100


class TwoInputs(torch.nn.Module):
    """Takes the columns of a dict by name."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(10, 1)

    def forward(self, left, right):
        return self.head(torch.cat([left, right], 1))


class Convolutions(torch.nn.Module):
    """A small net for 8 x 8 pictures."""

    def __init__(self, n_outputs=10):
        super().__init__()
        self.features = torch.nn.Conv2d(1, 4, 3)
        self.head = torch.nn.Linear(4 * 36, n_outputs)

    def forward(self, X):
        return self.head(self.features(X[:, None]).relu().flatten(1))


class Interrupted(torch.nn.Module):
    """As if the user pressed Ctrl-C when there are more rows than at first."""

    def __init__(self, n_max=64):
        super().__init__()
        self.n_max = n_max
        self.head = torch.nn.Linear(10, 1)

    def forward(self, X):
        if self.training and len(X) > self.n_max:
            signal.raise_signal(signal.SIGINT)
        return self.head(X)


def _plain(module=MLP, **params):
    params = (
        {"module__n_features": 10, "module__n_outputs": 1, **params} if module is MLP else params
    )
    return skorch.NeuralNetRegressor(
        module, train_split=None, max_epochs=3, verbose=0, batch_size=512, **params
    )


def test_ames_as_a_frame_ten_rounds_without_any_conversion(shared_data):
    houses, price = fetch_ames_housing(path=shared_data / "house_prices.csv", return_X_y=True)
    pool, prices = houses[:700], price[:700]
    assert (pool.dtypes == "category").sum() > 30
    numbers, categories = (
        make_column_selector(dtype_include="number"),
        make_column_selector(dtype_exclude="number"),
    )
    model = TransformedTargetRegressor(
        make_pipeline(
            make_column_transformer(
                (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
                (OneHotEncoder(handle_unknown="ignore"), categories),
            ),
            NeuralNetRegressor(max_epochs=30, standardize_y=True),
        ),
        func=np.log1p,
        inverse_func=np.expm1,
    )
    learner = ActiveLearner(model, CoreSet(), random_state=0).fit(pool[:20], prices[:20])
    pool, prices = pool[20:], prices[20:]
    for _ in range(10):
        rows = learner.query(pool, n_instances=20)
        learner.teach(pool.iloc[rows], prices.iloc[rows])
        pool, prices = pool.drop(pool.index[rows]), prices.drop(prices.index[rows])
    assert learner.n_labeled_ == 220 and isinstance(learner.X_labeled_, pd.DataFrame)
    assert learner.score(houses[700:], price[700:]) > 0.6


def test_results_do_not_depend_on_n_jobs():
    learner = ActiveLearner(
        make_pipeline(StandardScaler(), NeuralNetRegressor(max_epochs=5, standardize_y=True)),
        CoreSet(),
    )
    simulation = BudgetedActiveLearner(
        learner, n_initial=20, n_instances=20, budget=60, random_state=0
    )
    grid = {
        "learner__query_strategy__selector": [KCenterGreedy(), KMeansPlusPlus()],
        "learner__estimator__neuralnetregressor__lr": [1e-3, 1e-2],
    }
    scores = [
        GridSearchCV(simulation, grid, cv=2, n_jobs=n_jobs).fit(X, Y).cv_results_["mean_test_score"]
        for n_jobs in (1, 2)
    ]
    assert_array_equal(*scores)
    assert len(np.unique(scores[0])) == 4


def test_one_seed_fixes_everything_and_leaves_the_global_generators_alone():
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    answers = []
    for _ in range(2):
        net = NeuralNetRegressor(max_epochs=5, module__dropout=0.2)
        learner = ActiveLearner(net, CoreSet(), random_state=3).fit(X[:50], Y[:50])
        rows = learner.query(X[50:], 10)
        learner.teach(X[50:][rows], Y[50:][rows])
        answers.append((rows, learner.predict(X)))
    assert_array_equal(answers[0][0], answers[1][0])
    assert_array_equal(answers[0][1], answers[1][1])
    assert torch.equal(state[0], torch.get_rng_state())
    assert_array_equal(state[1], np.random.get_state()[1])


def test_images():
    digits = load_digits()
    net = NeuralNetClassifier(Convolutions, classes=range(10), max_epochs=15, random_state=0)
    learner = ActiveLearner(net, MarginSampling(), random_state=0)
    learner.fit(digits.images[:100], digits.target[:100])
    rows = learner.query(digits.images[100:], 20)
    learner.teach(digits.images[100:][rows], digits.target[100:][rows])
    assert learner.X_labeled_.shape == (120, 8, 8)
    assert learner.score(digits.images, digits.target) > 0.6


def test_a_plain_skorch_net_on_data_it_accepts():
    learner = ActiveLearner(_plain(), CoreSet(), random_state=0)
    learner.fit(X32[:60], Y32[:60, None])
    rows = learner.query(X32[60:], 10)
    learner.teach(X32[60:][rows], Y32[60:][rows, None])
    assert learner.predict(X32).shape == (442, 1)
    again = clone(learner).fit(X32[:60], Y32[:60, None])
    assert_array_equal(again.query(X32[60:], 10), rows)


def test_a_dict_of_arrays():
    table = SliceDict(left=X32[:, :4], right=X32[:, 4:])
    learner = ActiveLearner(_plain(TwoInputs), CoreSet(), random_state=0)
    learner.fit(table[:60], Y32[:60, None])
    rows = learner.query(table[60:], 10)
    learner.teach(table[60:][rows], Y32[60:][rows, None])
    assert isinstance(learner.X_labeled_, SliceDict) and len(learner.X_labeled_) == 70


def test_a_plain_net_with_one_dimensional_targets_is_refused():
    learner = ActiveLearner(_plain())
    with pytest.raises(ValueError, match=r"needs a target of shape \(n_samples, 1\).*reshape"):
        learner.fit(X32, Y32)
    wrapped = ActiveLearner(TransformedTargetRegressor(make_pipeline(StandardScaler(), _plain())))
    with pytest.raises(ValueError, match=r"needs a target of shape \(n_samples, 1\)"):
        wrapped.fit(X32, Y32)


def test_a_plain_net_that_holds_back_labels_is_noticed():
    net = skorch.NeuralNetRegressor(
        MLP, module__n_features=10, module__n_outputs=1, max_epochs=1, verbose=0
    )
    with pytest.warns(UserWarning, match="holds back a fifth of the labels.*train_split=None"):
        ActiveLearner(net).fit(X32[:60], Y32[:60, None])


def test_a_plain_net_on_float64_is_explained():
    with pytest.raises(RuntimeError, match="X is float64 and torch computes in float32. Cast it"):
        ActiveLearner(_plain()).fit(X, Y32[:, None])


@pytest.mark.parametrize("own", [True, False])
def test_an_interrupted_training_keeps_labels_and_the_previous_model(own):
    net = NeuralNetRegressor(Interrupted, max_epochs=3) if own else _plain(Interrupted)
    labels = Y32 if own else Y32[:, None]
    learner = ActiveLearner(net.set_params(batch_size=512), CoreSet(), random_state=0)
    learner.fit(X32[:60], labels[:60])
    before = learner.predict(X32)
    with pytest.raises(KeyboardInterrupt):
        learner.teach(X32[60:80], labels[60:80])
    assert learner.n_labeled_ == 80
    assert_array_equal(learner.predict(X32), before)
    restored = pickle.loads(pickle.dumps(learner))
    restored.set_params(estimator__module__n_max=1000).refit()
    assert restored.n_labeled_ == 80 and not np.array_equal(restored.predict(X32), before)


def test_warm_start_of_a_net_in_a_pipeline():
    net = NeuralNetRegressor(max_epochs=2, standardize_y=True)
    learner = ActiveLearner(
        make_pipeline(StandardScaler(), net), CoreSet(), warm_start=True, random_state=0
    )
    learner.fit(X[:60], Y[:60])
    learner.teach(X[60:80], Y[60:80]).refit().refit()
    assert len(learner.estimator_[-1].history) > 2
    cold = clone(learner).set_params(warm_start=False).fit(X[:60], Y[:60])
    cold.teach(X[60:80], Y[60:80])
    error = [np.abs(model.predict(X[:80]) - Y[:80]).mean() for model in (learner, cold)]
    assert error[0] < error[1]


def test_uncertainty_of_a_net_is_that_of_its_probabilities():
    digits = load_digits()
    net = NeuralNetClassifier(max_epochs=3, random_state=0)
    learner = ActiveLearner(net, EntropySampling()).fit(digits.data[:200], digits.target[:200])
    scores = learner.query(digits.data[200:300], 1, return_scores=True)[1]
    P = learner.predict_proba(digits.data[200:300]).astype(np.float64)
    expected = -(P * np.log(np.maximum(P, 1e-300))).sum(1)
    assert_allclose(scores, expected, atol=1e-5)


def test_an_unknown_device_is_refused_in_fit():
    learner = ActiveLearner(NeuralNetRegressor(device="gpu"))
    with pytest.raises(ValueError, match="'device' parameter of NeuralNetRegressor must be"):
        learner.fit(X, Y)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="asked to train on CUDA but torch finds no CUDA"):
            ActiveLearner(NeuralNetRegressor(device="cuda:1")).fit(X, Y)
        strategy = CoreSet(device="cuda")
        fitted = ActiveLearner(NeuralNetRegressor(max_epochs=1), strategy).fit(X, Y)
        with pytest.raises(ValueError, match="CoreSet.*CUDA"):
            fitted.query(X, 1)


@pytest.mark.gpu
def test_the_device_is_chosen_per_estimator():
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    learner = ActiveLearner(NeuralNetRegressor(max_epochs=5, device="cuda"), CoreSet())
    rows = learner.fit(X[:60], Y[:60]).query(X[60:], 10)
    assert next(learner.estimator_.module_.parameters()).device.type == "cuda"
    on_cpu = ActiveLearner(learner.estimator, CoreSet(device="cpu"), random_state=0)
    assert len(np.unique(on_cpu.fit(X[:60], Y[:60]).query(X[60:], 10))) == len(rows)
