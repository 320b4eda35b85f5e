"""Views compute with a copy: nobody who uses the net meanwhile sees anything of it."""

import threading

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.frozen import FrozenEstimator
from torch import nn

from skal.neural_network import EMACallback, NeuralNetClassifier
from skal.views import NetView
from skal.views._copying import private_copy
from tests._instances import STRATEGIES

_rng = np.random.RandomState(0)
X = _rng.randn(60, 4).astype(np.float32)
Y = np.arange(60) % 3


def _served():
    """One instance of every strategy that reads a net which classifies."""
    seen = {}
    for strategy in STRATEGIES:
        tags = strategy.__sklearn_tags__().query_strategy_tags
        if "classifier" in tags.tasks and "committee" not in tags.needs:
            seen.setdefault(type(strategy).__name__, type(strategy))
    return [kind for name, kind in seen.items() if name not in ("QueryByCommittee", "Staged")]


@pytest.fixture(scope="module")
def net():
    callbacks = [("ema", EMACallback(alpha=0.9))]
    params = {"module__dropout": 0.3, "module__hidden": (8,), "module__batch_norm": True}
    return NeuralNetClassifier(callbacks=callbacks, max_epochs=3, random_state=0, **params).fit(
        X, Y
    )


@pytest.mark.parametrize("kind", _served())
def test_predictions_in_threads_are_those_alone_while_a_strategy_queries(kind, net):
    expected = net.predict_proba(X)
    strategy = kind(FrozenEstimator(net), random_state=0).fit(X[:20], Y[:20])
    rows = strategy.query(X, 3)
    wrong, errors, asking = [], [], threading.Event()

    def predict():
        try:
            while not asking.is_set():
                wrong.append(not np.array_equal(net.predict_proba(X), expected))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=predict) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(3):
            assert_array_equal(strategy.query(X, 3), rows)
    finally:
        asking.set()
        for thread in threads:
            thread.join()
    assert not errors and wrong and not any(wrong)


class Keeps(nn.Module):
    """Keeps what it computed, with its graph, and a lock, which cannot be copied."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.head = nn.Linear(n_features, n_outputs)
        self.twin = [self.head]
        self.lock = threading.Lock()
        self.kept = []

    def forward(self, X):
        self.last = self.head(X)
        self.kept = [self.last]
        return self.last


def test_modules_that_torch_does_not_copy():
    module = Keeps(4, 3)
    module(torch.from_numpy(X))
    with pytest.raises((RuntimeError, TypeError)):
        __import__("copy").deepcopy(module)
    twin = private_copy(module)
    assert twin.twin[0] is twin.head and twin.head is not module.head
    assert torch.equal(twin.head.weight, module.head.weight)
    assert twin.head.weight.data_ptr() != module.head.weight.data_ptr()
    assert twin.lock is module.lock and not twin.last.requires_grad


def test_weights_are_those_of_the_moment_the_view_was_made(net):
    view = NetView(net)
    before = view.outputs(X)
    with torch.no_grad():
        net.module_.head.bias.add_(1.0)
        try:
            assert torch.equal(view.outputs(X), before)
            assert torch.allclose(NetView(net).outputs(X), before + 1.0)
        finally:
            net.module_.head.bias.sub_(1.0)
