"""`clone` keeps everything a net was given."""

import numpy as np
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone

from skal.neural_network import NeuralNetClassifier

_rng = np.random.RandomState(0)
X = _rng.randn(60, 4)
Y = np.arange(60) % 3


def _sharp(outputs):
    return torch.softmax(2.0 * outputs, 1)


def test_clone_keeps_what_is_passed_on_to_skorch():
    given = {
        "compile": True,
        "compile__mode": "reduce-overhead",
        "predict_nonlinearity": _sharp,
        "torch_load_kwargs": {"weights_only": False},
    }
    net = clone(NeuralNetClassifier(**given))
    assert {name: net.get_params()[name] for name in given} == given
    assert net.set_params(compile=False).get_params(deep=False).get("compile", False) is False
    assert clone(net.set_params(torch_load_kwargs=None)).torch_load_kwargs is None
    assert "compile" not in NeuralNetClassifier().get_params()


def test_the_nonlinearity_of_predictions_is_used():
    net = NeuralNetClassifier(max_epochs=2, random_state=0).fit(X, Y)
    log_P = np.log(net.predict_proba(X).astype(np.float64))
    sharp = clone(net).set_params(predict_nonlinearity=_sharp).fit(X, Y)
    expected = np.exp(2 * log_P) / np.exp(2 * log_P).sum(1, keepdims=True)
    assert_allclose(sharp.predict_proba(X), expected, rtol=1e-4)
