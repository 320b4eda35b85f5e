"""Several threads train and predict at once, and interrupts come at any moment."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import skorch
import torch
from joblib import parallel_config
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV
from torch import nn

from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor, PseudoLabelFineTuner
from skal.neural_network._seed import SEEDED, import_whole, preserved_generators, torch_seed
from skal.neural_network._threads import one_thread

_rng = np.random.RandomState(0)
X = _rng.randn(80, 4).astype(np.float32)
Y = np.arange(80) % 3


def _together(*functions):
    """Run functions in threads of their own, all at once; their results, or the first error."""
    results, errors = [None] * len(functions), []

    def run(k):
        try:
            results[k] = functions[k]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive(), "the threads wait for each other"
    if errors:
        raise errors[0]
    return results


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, X):
        return self.layers(X)


_SKAL = NeuralNetClassifier(
    module__dropout=0.3, module__hidden=(8,), batch_size=16, max_epochs=8, random_state=0
)
_SKORCH = skorch.NeuralNetClassifier(
    Plain, criterion=nn.CrossEntropyLoss, train_split=None, max_epochs=8, batch_size=16, verbose=0
)


@pytest.mark.parametrize(
    "estimator",
    [
        _SKAL,
        _SKORCH,
        PseudoLabelFineTuner(_SKAL, epochs=2, threshold=0.4, min_samples=1, random_state=0),
        GridSearchCV(_SKAL, {"lr": [0.001, 0.01]}, cv=2),
        BaggingClassifier(_SKAL, n_estimators=2),
    ],
    ids=lambda estimator: type(estimator).__module__.partition(".")[0] + type(estimator).__name__,
)
def test_trainings_in_threads_are_those_alone(estimator):
    y = Y.astype(float)
    if isinstance(estimator, PseudoLabelFineTuner):
        y[40:] = np.nan
    else:
        y = Y.astype(np.int64)

    def train(seed):
        return ActiveLearner(clone(estimator), random_state=seed).fit(X, y)

    alone = [train(seed) for seed in range(3)]
    threads = _together(*[lambda seed=seed: train(seed) for seed in range(3)])
    # Predicted afterwards: the loaders of skorch's own nets draw from torch's generator.
    for one, other in zip(alone, threads, strict=True):
        assert_array_equal(one.predict_proba(X), other.predict_proba(X))


def test_predictions_go_on_while_another_thread_trains():
    net = clone(_SKAL).fit(X, Y)
    expected = net.predict_proba(X)
    alone = clone(_SKAL).set_params(max_epochs=60).fit(X, Y).predict_proba(X)
    during = []

    def train():
        other = clone(_SKAL).set_params(max_epochs=60)
        result = other.fit(X, Y).predict_proba(X)
        during.append(None)
        return result

    def predict():
        seen = []
        while not during:
            seen.append(np.array_equal(net.predict_proba(X), expected))
        return seen

    trained, right, _ = _together(train, predict, predict)
    assert_array_equal(trained, alone)
    assert right and all(right)


@pytest.mark.parametrize("estimator", [_SKAL, _SKORCH], ids=["skal", "skorch"])
def test_searches_with_threads_inside_a_learner_end(estimator):
    search = GridSearchCV(estimator, {"lr": [0.001, 0.01]}, cv=2, n_jobs=2)

    def fit():
        with parallel_config("threading"):
            return ActiveLearner(search, random_state=0).fit(X, Y.astype(np.int64)).score(X, Y)

    _together(fit)


def test_a_seeded_section_lets_nobody_else_in():
    entered = []

    def other():
        with SEEDED, torch_seed(1):
            entered.append(torch.rand(1))

    with SEEDED, torch_seed(0):
        expected = torch.rand(4)
    thread = threading.Thread(target=other)
    with SEEDED, torch_seed(0):
        first = torch.rand(2)
        thread.start()
        time.sleep(0.05)
        assert not entered
        assert torch.equal(torch.cat([first, torch.rand(2)]), expected)
    thread.join()
    assert entered


def test_generators_of_another_threads_training_are_left_alone():
    def draw():
        with preserved_generators():
            torch.rand(5)

    with SEEDED, torch_seed(0):
        torch.rand(2)
        before = torch.get_rng_state()
        thread = threading.Thread(target=draw)
        thread.start()
        thread.join()
        # What it drew is gone; what was drawn before is not drawn again.
        assert not torch.equal(before, torch.get_rng_state())


def test_gradients_are_enabled_again():
    with preserved_generators():
        torch.set_grad_enabled(False)
    assert torch.is_grad_enabled()
    with SEEDED, torch_seed(0):
        torch.set_grad_enabled(False)
    assert torch.is_grad_enabled()


class Off(nn.Module):
    """Stops as an interrupt inside ``torch.no_grad`` does, which leaves gradients off."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.head = nn.Linear(n_features, n_outputs)

    def forward(self, X):
        torch.set_grad_enabled(False)
        raise KeyboardInterrupt


def test_an_interrupted_training_leaves_gradients_on():
    with pytest.raises(KeyboardInterrupt):
        NeuralNetRegressor(Off, max_epochs=1).fit(X, X[:, 0])
    assert torch.is_grad_enabled()
    NeuralNetRegressor(max_epochs=1).fit(X, X[:, 0])


def test_number_of_threads_is_put_back_by_the_last():
    before = torch.get_num_threads()
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with one_thread():
            inside.set()
            leave.wait(10)
            return torch.get_num_threads()

    try:
        torch.set_num_threads(2)
        thread = threading.Thread(target=stay)
        thread.start()
        inside.wait(10)
        with one_thread():
            assert torch.get_num_threads() == 1
        leave.set()
        thread.join()
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        leave.set()
        torch.set_num_threads(before)


def test_an_interrupt_waits_for_an_import(tmp_path, monkeypatch):
    (tmp_path / "slow_to_import.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        import_whole("slow_to_import")
    assert sys.modules["slow_to_import"].whole
    assert signal.getsignal(signal.SIGINT) is handler


_FIRST_TRAINING = """
import os, signal, sys, threading
import numpy as np
from skal.neural_network import NeuralNetClassifier

class Importing:
    def find_spec(self, name, path=None, target=None):
        if name == "sympy.core.numbers":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Importing())
X = np.random.RandomState(0).randn(20, 3)
try:
    NeuralNetClassifier(max_epochs=1).fit(X, np.arange(20) % 2)
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted")
print(NeuralNetClassifier(max_epochs=1).fit(X, np.arange(20) % 2).predict(X).shape)
"""


def test_an_interrupt_in_the_first_training_of_a_process_breaks_nothing():
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run(
        [sys.executable, "-c", _FIRST_TRAINING],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert found.stdout.splitlines() == ["interrupted", "(20,)"], found.stderr[-2000:]
