"""Pretrained modules: frozen parts stay as they are, and a net may be taken without training."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier
from skal.neural_network._frozen import frozen_norms
from skal.strategies import BADGE

_rng = np.random.RandomState(0)
X = (5 + _rng.randn(60, 4)).astype(np.float32)
Y = np.arange(60) % 3


class Pretrained(nn.Module):
    """A backbone whose weights are held, and a head."""

    def __init__(self, n_outputs=3, affine=True):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8, affine=affine), nn.ReLU(), nn.Dropout(0.5)
        )
        self.backbone.requires_grad_(False)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, n_outputs)

    def forward(self, X):
        return self.head(self.norm(self.backbone(X)))


@pytest.mark.parametrize("affine", [True, False])
def test_statistics_of_frozen_layers_stay(affine):
    net = NeuralNetClassifier(
        Pretrained, module__affine=affine, max_epochs=3, random_state=0, batch_size=16
    ).fit(X, Y)
    assert float(net.module_.backbone[1].running_mean.abs().max()) == 0.0
    assert float(net.module_.norm.running_mean.abs().max()) > 0.0
    assert frozen_norms(net.module_) == [net.module_.backbone[1]]
    net.partial_fit(X, Y)
    assert float(net.module_.backbone[1].running_mean.abs().max()) == 0.0
    # Of a part that is trained, they move.
    assert frozen_norms(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False))) == []


def test_no_epochs_take_the_module_as_it_is():
    module = Pretrained()

    def trained(n_outputs):
        module = Pretrained(n_outputs)
        module.load_state_dict(state)
        return module

    state = module.state_dict()
    net = NeuralNetClassifier(trained, classes=["a", "b", "c"], max_epochs=0)
    net.fit(X[:1], ["a"])
    with torch.no_grad():
        expected = torch.softmax(module.eval()(torch.from_numpy(X)), 1)
    assert_allclose(net.predict_proba(X), expected, atol=1e-6)
    learner = ActiveLearner(net, BADGE(), random_state=0).fit(X[:3], np.array(["a", "b", "c"]))
    assert len(learner.query(X, 3)) == 3 and len(net.history) == 0
