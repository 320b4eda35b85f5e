"""The step by hand against the usual loop, and what must be trained by the usual loop."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.datasets import load_diabetes, load_digits
from skorch.callbacks import (
    BatchScoring,
    Checkpoint,
    EarlyStopping,
    Freezer,
    GradientNormClipping,
    LRScheduler,
)
from skorch.dataset import ValidSplit
from torch import nn

from skal.neural_network import (
    EMACallback,
    NeuralNetClassifier,
    NeuralNetRegressor,
    NoisyChannelClassifier,
)
from skal.neural_network import _net as module
from skal.neural_network._short_step import ShortStep, short_step

X, Y = load_digits(n_class=5, return_X_y=True)
X, Y = (X / 16)[:150].astype(np.float32), Y[:150]
D, T = load_diabetes(return_X_y=True)
D, T = D[:150].astype(np.float32), T[:150]


class Stack(nn.Sequential):
    """A subclass is no plain stack: its forward may be its own."""

    def __init__(self, n_features, n_outputs):
        super().__init__(nn.Linear(n_features, 4), nn.ReLU(), nn.Linear(4, n_outputs))


def stack(n_features, n_outputs):
    return nn.Sequential(nn.Linear(n_features, 4, bias=False), nn.ReLU(), nn.Linear(4, n_outputs))


def both(monkeypatch, net, X, y, **fit_params):
    """The same training by the usual loop and by the short step."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "short_step", lambda *args: None)
        usual = pickle.loads(pickle.dumps(net)).fit(X, y, **fit_params)
    steps = []
    epoch = ShortStep.epoch
    monkeypatch.setattr(ShortStep, "epoch", lambda self, b: steps.append(0) or epoch(self, b))
    short = pickle.loads(pickle.dumps(net)).fit(X, y, **fit_params)
    assert steps, "the short step did not run"
    return usual, short


def assert_same(usual, short):
    for p, q in zip(usual.module_.parameters(), short.module_.parameters(), strict=True):
        assert_allclose(p.detach(), q.detach(), atol=1e-6)
        for name, value in usual.optimizer_.state[p].items():
            assert_allclose(value, short.optimizer_.state[q][name], atol=1e-6, rtol=1e-4)
        assert q.is_leaf and q.untyped_storage().nbytes() == 4 * q.numel()
    assert len(usual.history) == len(short.history)
    for row, other in zip(usual.history, short.history, strict=True):
        assert row.keys() == other.keys() and row["train_batch_count"] == other["train_batch_count"]
        assert_allclose(row["train_loss"], other["train_loss"], rtol=1e-5)


WEIGHT = np.random.RandomState(0).uniform(0.1, 2, size=150)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"module__hidden": (20, 10), "batch_size": 32, "optimizer__weight_decay": 0.01},
        {"module__hidden": (), "batch_size": -1},
        {"module": stack, "optimizer__betas": (0.8, 0.9), "optimizer__eps": 1e-6},
        {"criterion__weight": torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0])},
        {"train_split": ValidSplit(3), "callbacks": [EarlyStopping(patience=3)]},
    ],
)
def test_classifiers_as_by_the_usual_loop(monkeypatch, options, weight):
    net = NeuralNetClassifier(**{"max_epochs": 6, "random_state": 0} | options)
    assert_same(*both(monkeypatch, net, X, Y, sample_weight=weight))


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("y", [T, np.column_stack([T, -T])])
def test_regressors_as_by_the_usual_loop(monkeypatch, y, weight):
    net = NeuralNetRegressor(max_epochs=6, standardize_y=True, batch_size=40, random_state=0)
    assert_same(*both(monkeypatch, net, D, y, sample_weight=weight))


def test_sparse_rows_and_warm_starts(monkeypatch):
    net = NeuralNetClassifier(max_epochs=3, warm_start=True, random_state=0)
    usual, short = both(monkeypatch, net, sparse.csr_array(X), Y)
    with monkeypatch.context() as patch:
        patch.setattr(module, "short_step", lambda *args: None)
        usual.fit(X, Y)
    assert_same(usual, short.fit(X, Y))


def test_dropout_has_its_law():
    net = NeuralNetClassifier(module__dropout=0.3, max_epochs=1, random_state=0).fit(X, Y)
    step = short_step(net, X, Y)
    dropout = step.layers[2]
    out = dropout.forward(torch.ones(1000, 50))
    assert_allclose(out.unique(), [0.0, 1 / 0.7])
    assert abs(float((out == 0).float().mean()) - 0.3) < 0.01
    assert torch.equal(dropout.backward(torch.ones(1000, 50)), out)
    step.close()


class Double(NeuralNetClassifier):
    def get_loss(self, *args, **kwargs):
        return 2 * super().get_loss(*args, **kwargs)


@pytest.mark.parametrize(
    "net",
    [
        NeuralNetClassifier(module__activation="tanh"),
        NeuralNetClassifier(module__batch_norm=True),
        NeuralNetClassifier(module=Stack),
        NeuralNetClassifier(optimizer=torch.optim.SGD),
        NeuralNetClassifier(optimizer=torch.optim.AdamW),
        NeuralNetClassifier(optimizer__amsgrad=True),
        NeuralNetClassifier(criterion__label_smoothing=0.1),
        NeuralNetClassifier(callbacks=[EMACallback()]),
        NeuralNetClassifier(callbacks=[GradientNormClipping(1.0)]),
        NeuralNetClassifier(callbacks=[LRScheduler("StepLR", step_size=2)]),
        NeuralNetClassifier(callbacks=[BatchScoring("accuracy", name="a", on_train=True)]),
        NoisyChannelClassifier(estimate="joint"),
        Double(),
    ],
)
def test_everything_else_goes_by_the_usual_loop(net, monkeypatch):
    monkeypatch.setattr(ShortStep, "__init__", lambda *args: pytest.fail("took the short step"))
    net.set_params(max_epochs=1, random_state=0).fit(X, Y)


def test_a_hook_is_called():
    class Hooked(NeuralNetClassifier):
        pass

    net = NeuralNetClassifier(max_epochs=1, random_state=0).fit(X, Y)
    assert short_step(net, X, Y) is not None
    net.module_.head.register_forward_hook(lambda *args: None)
    assert short_step(net, X, Y) is None
    assert short_step(Hooked(max_epochs=1, random_state=0).fit(X, Y), X, Y) is None


def test_what_a_callback_changes_counts(monkeypatch):
    """From the third epoch on the body is frozen: the usual loop takes over."""
    freeze = Freezer("body*", at=3)
    net = NeuralNetClassifier(max_epochs=5, callbacks=[freeze], random_state=0)
    usual, short = both(monkeypatch, net, X, Y)
    for p, q in zip(usual.module_.parameters(), short.module_.parameters(), strict=True):
        assert_allclose(p.detach(), q.detach(), atol=1e-6)


def test_divergence_and_interrupts_leave_the_net_whole(monkeypatch, tmp_path):
    net = NeuralNetRegressor(max_epochs=30, optimizer__lr=1e20, random_state=0)
    with pytest.raises(ValueError, match="Training loss became"):
        net.fit(1e6 * D, T)
    net = NeuralNetClassifier(max_epochs=2, warm_start=True, random_state=0).fit(X, Y)
    step = ShortStep._step

    def interrupted(self, *args):
        if self.n_steps % 7 == 6:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(ShortStep, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        net.set_params(max_epochs=50).fit(X, Y)
    assert all(p.untyped_storage().nbytes() == 4 * p.numel() for p in net.module_.parameters())
    assert net.predict(X).shape == Y.shape
    monkeypatch.setattr(ShortStep, "_step", step)
    checkpoint = Checkpoint(monitor=None, dirname=tmp_path)
    saved = NeuralNetClassifier(max_epochs=3, callbacks=[checkpoint], random_state=0).fit(X, Y)
    weights = torch.load(tmp_path / "params.pt")
    assert torch.equal(weights["head.weight"], saved.module_.head.weight)
