"""Plain skorch nets inside a learner: warned of, guarded, explained."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import skorch
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EarlyStopping
from torch import nn

from skal import ActiveLearner
from skal.neural_network import MLP, NeuralNetRegressor
from skal.neural_network._guard import check_foreign_net, explain_fit_error, guard_interrupts

X = np.random.RandomState(0).randn(40, 4).astype(np.float32)
Y = X[:, :1] - X[:, 1:2]
C = (Y[:, 0] > 0).astype(np.int64)
_QUIET = {"verbose": 0, "max_epochs": 4, "train_split": None}


class Interrupted(MLP):
    """The user presses Ctrl-C in the third batch."""

    calls = 0

    def forward(self, X):
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return super().forward(X)


def _regressor(module=MLP, **params):
    sizes = {"module__n_features": 4, "module__n_outputs": 1}
    return skorch.NeuralNetRegressor(module, **{**sizes, **_QUIET, **params})


def _classifier(**params):
    sizes = {"module__n_features": 4, "module__n_outputs": 2, "criterion": nn.CrossEntropyLoss}
    return skorch.NeuralNetClassifier(MLP, **{**sizes, **_QUIET, **params})


def _wrappers(net):
    return [
        net,
        make_pipeline(StandardScaler(), net),
        TransformedTargetRegressor(make_pipeline(StandardScaler(), net)),
        GridSearchCV(net, {"lr": [0.1]}),
        VotingRegressor([("ridge", Ridge()), ("net", net)]),
    ]


# ---------------------------------------------------------------------- before training


@pytest.mark.parametrize("position", range(5))
def test_one_dimensional_target_of_a_regressor(position):
    estimator = _wrappers(_regressor())[position]
    message = r"needs a target of shape \(n_samples, 1\). Got shape \(40,\) instead.*reshape\(-1, 1"
    for y in (Y.ravel(), Y.ravel().tolist(), pd.Series(Y.ravel())):
        with pytest.raises(ValueError, match=message):
            check_foreign_net(estimator, y)
    check_foreign_net(estimator, Y)
    check_foreign_net(_classifier(), C)


@pytest.mark.parametrize("position", range(5))
def test_labels_held_back(position):
    default = skorch.NeuralNetRegressor(MLP).train_split
    net = _regressor(train_split=default)
    with pytest.warns(UserWarning, match="holds back a fifth of the labels .*train_split=None"):
        check_foreign_net(_wrappers(net)[position], Y)


def test_nothing_to_say():
    own_split = skorch.dataset.ValidSplit(3)
    for estimator in [
        Ridge(),
        NeuralNetRegressor(train_split=skorch.dataset.ValidSplit(5)),
        FrozenEstimator(skorch.NeuralNetRegressor(MLP)),
        make_pipeline(FrozenEstimator(skorch.NeuralNetRegressor(MLP)), Ridge()),
    ]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_foreign_net(estimator, Y.ravel())
        before = repr(estimator)
        guard_interrupts(estimator)
        assert repr(estimator) == before
        assert explain_fit_error(estimator, RuntimeError("must have the same dtype")) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_foreign_net(_regressor(train_split=own_split), Y)


# ---------------------------------------------------------------------- interrupts


@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("callbacks", [None, "disable", []])
def test_interrupts_are_passed_on(position, callbacks):
    estimator = _wrappers(_regressor(Interrupted, batch_size=20, callbacks=callbacks))[position]
    clone(estimator).fit(X, Y)  # swallowed
    guard_interrupts(estimator)
    with pytest.raises(KeyboardInterrupt):
        clone(estimator).fit(X, Y)
    with pytest.raises(KeyboardInterrupt):
        pickle.loads(pickle.dumps(estimator)).fit(X, Y)


def test_early_stopping_goes_on_working():
    stopping = EarlyStopping(monitor="train_loss", patience=2, threshold=10.0)
    net = _regressor(callbacks=[stopping], max_epochs=10)
    guard_interrupts(net)
    assert len(net.fit(X, Y).history) == 3


def test_guard_changes_nothing_else():
    torch.manual_seed(0)
    expected = _regressor().fit(X, Y).predict(X)
    net = _regressor()
    guard_interrupts(net)
    guard_interrupts(net)
    assert len(net.callbacks) == 1
    torch.manual_seed(0)
    assert_array_equal(net.fit(X, Y).predict(X), expected)
    disabled = _regressor(callbacks="disable", verbose=1)
    guard_interrupts(disabled)
    assert [name for name, _ in disabled.fit(X, Y).callbacks_] == ["InterruptGuard"]


def test_warm_started_net_is_guarded():
    net = _regressor(Interrupted, batch_size=-1, max_epochs=2, warm_start=True).fit(X, Y)
    guard_interrupts(net)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y)
    assert net.predict(X).shape == (40, 1)


# ---------------------------------------------------------------------- errors explained


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize(
    "estimator, data, target, message",
    [
        (_regressor(), X.astype(float), Y, "X is float64"),
        (make_pipeline(StandardScaler(), _regressor()), X.astype(float), Y, "X is float64"),
        (TransformedTargetRegressor(_regressor()), X.astype(float), Y, "X is float64"),
        (_regressor(), pd.DataFrame(X, columns=list("abcd")), Y, "X is a DataFrame"),
        (_regressor(), pl.DataFrame(X), Y, "skorch does not take"),
        (_regressor(), X.tolist(), Y, "skorch does not take"),
        (_regressor(), sp.csr_array(X), Y, "skorch does not take"),
        (_regressor(), X, pd.DataFrame(Y), "skorch does not take"),
        (_classifier(), X, np.array(["a", "b"])[C], "labels must be int64"),
        (_classifier(), X, np.array(["a", "b"], dtype=object)[C], "labels must be int64"),
        (_classifier(), X, C.astype(np.int32), "labels must be int64"),
        (_classifier(), X, C.astype(float), "labels must be int64"),
        (_classifier(), X, 10 * C + 10, "labels must be int64"),
        (_regressor(train_split=skorch.dataset.ValidSplit(5)), X[:3], Y[:3], "too few"),
        (_regressor(callbacks=[EarlyStopping()]), X, Y, "no validation data"),
        (_regressor(module__batch_norm=True, batch_size=13), X, Y, "batch of a single row"),
        (_regressor(device="auto"), X, Y, "no device 'auto'"),
    ],
)
def test_known_errors_are_explained(estimator, data, target, message):
    estimator = clone(estimator)
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011
        estimator.fit(data, target)
    explanation = explain_fit_error(estimator, caught.value)
    assert message in explanation
    assert (
        "skal.neural_network" in explanation or "device=" in explanation or "train_" in explanation
    )
    assert str(caught.value)[:20] in explanation


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_where_there_is_none_is_explained():
    net = _regressor(device="cuda")
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011
        net.fit(X, Y)
    assert "no device 'cuda'" in explain_fit_error(net, caught.value)


def test_unknown_errors_are_not_explained():
    assert explain_fit_error(_regressor(), ValueError("something else")) is None


@pytest.mark.parametrize("labels", [np.arange(40) % 2, np.arange(40) % 2 == 0, list("ab" * 20)])
def test_labels_of_skorch_binary_nets_are_explained(labels):
    class OneLogit(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(3, 1)

        def forward(self, rows):
            return self.head(rows).squeeze(-1)

    net = skorch.NeuralNetBinaryClassifier(OneLogit, train_split=None, max_epochs=1, verbose=0)
    rows = np.random.RandomState(0).standard_normal((40, 3)).astype(np.float32)
    with pytest.raises((RuntimeError, TypeError, ValueError), match="labels must be float32"):
        ActiveLearner(net).fit(rows, np.asarray(labels))
