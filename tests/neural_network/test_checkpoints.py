"""skorch's callbacks do in nets of this package what they do in skorch."""

import os

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from numpy.testing import assert_array_equal
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    LoadInitState,
    TrainEndCheckpoint,
)
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch.utils.data import TensorDataset

from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor

_rng = np.random.RandomState(0)
X = _rng.randn(60, 4).astype(np.float32)
Y = np.array(["x", "y", "z"])[X[:, :3].argmax(1)]


def _quick(cls=NeuralNetClassifier, **params):
    return cls(**{"max_epochs": 5, "random_state": 0, "lr": 0.01, **params})


def test_batch_scoring_compares_with_the_users_labels():
    scoring = BatchScoring("accuracy", name="accuracy", on_train=True)
    net = _quick(callbacks=[scoring], batch_size=-1, max_epochs=30).fit(X, Y)
    assert net.history[-1, "accuracy"] == pytest.approx(net.score(X, Y))
    r2 = BatchScoring("r2", name="r2", on_train=True)
    net = _quick(NeuralNetRegressor, callbacks=[r2], batch_size=-1, standardize_y=True)
    net.fit(X, 300 * X[:, 0] + 1000)
    assert net.history[-1, "r2"] == pytest.approx(net.score(X, 300 * X[:, 0] + 1000), abs=1e-4)


def test_batches_are_there_at_the_end_of_a_training():
    seen = []

    class Spy(Callback):
        def on_train_end(self, net, **kwargs):
            seen.extend(len(epoch["batches"]) for epoch in net.history)

    net = _quick(callbacks=[Spy()], batch_size=20).fit(X, Y)
    assert seen == [3] * 5
    assert all(epoch["batches"] == [] for epoch in net.history)


def test_train_end_checkpoint(tmp_path):
    given = TrainEndCheckpoint(dirname=str(tmp_path), fn_prefix="end_")
    net = _quick(callbacks=[given]).fit(X, Y)
    names = ["end_criterion.pt", "end_history.json", "end_optimizer.pt", "end_params.pt"]
    assert sorted(os.listdir(tmp_path)) == names
    saved = torch.load(tmp_path / "end_params.pt")
    assert torch.equal(saved["head.bias"], net.module_.head.bias)


def test_checkpoints_load_the_best_and_leave_their_files(tmp_path):
    given = Checkpoint(
        monitor=lambda net: len(net.history) == 2,
        dirname=str(tmp_path),
        f_params="{last_epoch[epoch]}.pt",
        load_best=True,
    )
    net = _quick(callbacks=[given]).fit(X, Y)
    assert_array_equal(net.predict_proba(X), _quick(max_epochs=2).fit(X, Y).predict_proba(X))
    assert "2.pt" in os.listdir(tmp_path) and given.dirname == str(tmp_path)
    assert dict(net.callbacks_)["Checkpoint"].dirname == str(tmp_path)
    # skorch's way back to the best weights, afterwards.
    net.partial_fit(X, Y)
    net.load_params(checkpoint=given)
    again = _quick(callbacks=[LoadInitState(given)], max_epochs=1)
    with pytest.raises(ValueError, match="watches 'valid_loss'"):
        _quick(callbacks=[Checkpoint(dirname=str(tmp_path))]).fit(X, Y)
    assert again.fit(X, Y).predict(X).shape == (60,)


def test_an_interrupted_training_leaves_the_files_of_its_checkpoint(tmp_path):
    class Stop(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    checkpoint = Checkpoint(monitor=None, dirname=str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        _quick(callbacks=[Stop(), checkpoint]).fit(X, Y)
    saved = torch.load(tmp_path / "params.pt")
    expected = _quick(max_epochs=2).fit(X, Y).module_.state_dict()
    assert torch.equal(saved["head.bias"], expected["head.bias"])


def _fit(seed, folder):
    checkpoint = Checkpoint(monitor="train_loss_best", dirname=folder, load_best=True)
    net = _quick(random_state=seed, callbacks=[checkpoint], max_epochs=20)
    return net.fit(X, Y).predict_proba(X)


def test_two_processes_with_the_same_checkpoint(tmp_path):
    alone = [_fit(seed, str(tmp_path / "alone")) for seed in range(4)]
    folder = str(tmp_path / "both")
    both = Parallel(n_jobs=2)(delayed(_fit)(seed, folder) for seed in range(4))
    for one, other in zip(alone, both, strict=True):
        assert_array_equal(one, other)
    assert sorted(os.listdir(folder)) == [
        "criterion.pt",
        "history.json",
        "optimizer.pt",
        "params.pt",
    ]


@pytest.mark.parametrize("kind", [Dataset, "tensors", "own"])
def test_validation_sets_of_ones_own(kind):
    codes = np.searchsorted(["x", "y", "z"], Y)
    if kind == "tensors":
        # Labels that are no numbers do not go into tensors.
        y, valid = codes, TensorDataset(torch.from_numpy(X[:20]), torch.from_numpy(codes[:20]))
    elif kind == "own":
        y, valid = Y, [(row, label) for row, label in zip(X[:20], Y[:20], strict=True)]
    else:
        y, valid = Y, Dataset(X[:20].astype(np.float64), Y[:20])
    net = _quick(train_split=predefined_split(valid), callbacks=[EarlyStopping(patience=50)])
    net.fit(X[20:], y[20:])
    log_P = np.log(net.predict_proba(X[:20]))
    expected = -log_P[np.arange(20), codes[:20]].mean()
    assert net.history[-1, "valid_loss"] == pytest.approx(expected, rel=1e-5)
