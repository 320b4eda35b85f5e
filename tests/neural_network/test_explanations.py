"""What goes wrong in a training is said in words: which parameter, and what to do."""

import numpy as np
import pytest
import torch
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit
from torch import nn

from skal.neural_network import MLP, NeuralNetClassifier, NeuralNetRegressor

_rng = np.random.RandomState(0)
X = _rng.randn(60, 4)
Y = np.arange(60) % 3


class Ends(MLP):
    """An MLP that ends in a function of its logits."""

    def __init__(self, n_features, n_outputs, end=None):
        super().__init__(n_features, n_outputs)
        self.end = end

    def forward(self, X):
        return self.end(super().forward(X))


@pytest.mark.filterwarnings("ignore:Using a target size:UserWarning")
@pytest.mark.parametrize(
    "params, rows, message",
    [
        ({"callbacks": [EarlyStopping()]}, 60, "watches 'valid_loss'.*train_loss.*train_split"),
        ({"train_split": ValidSplit(5, stratified=True)}, 6, "'train_split'.*6 labelled rows are"),
        ({"train_split": ValidSplit(5)}, 3, "'train_split' parameter.*3 labelled rows"),
        ({"module__batch_norm": True, "classes": [0, 1, 2]}, 1, "Batch normalisation.*1 labelled"),
        ({"criterion": nn.NLLLoss}, 60, "as probabilities with the criterion NLLLoss.*softmax"),
        ({"criterion": nn.MSELoss}, 60, "The criterion MSELoss of NeuralNetClassifier could not"),
        ({"criterion": nn.BCEWithLogitsLoss}, 60, r"of shape \(60, 3\) with targets of shape \(60"),
    ],
)
def test_mistakes_are_explained(params, rows, message):
    net = NeuralNetClassifier(max_epochs=2, random_state=0, **params)
    with pytest.raises(ValueError, match=message):
        net.fit(X[:rows], Y[:rows])


def test_losses_for_other_targets_than_a_regressors():
    message = r"The criterion CrossEntropyLoss of NeuralNetRegressor.*torch.nn.MSELoss"
    with pytest.raises(ValueError, match=message):
        NeuralNetRegressor(criterion=nn.CrossEntropyLoss, criterion__weight=torch.ones(3)).fit(
            X, X[:, 0]
        )


def test_a_softmax_of_a_softmax_warns():
    net = NeuralNetClassifier(Ends, module__end=nn.Softmax(1), max_epochs=2, random_state=0)
    with pytest.warns(UserWarning, match="returns probabilities.*Return logits"):
        net.fit(X, Y)
    # A log-softmax of a log-softmax is the same, and NLLLoss takes probabilities.
    NeuralNetClassifier(Ends, module__end=nn.LogSoftmax(1), max_epochs=2).fit(X, Y)
    softmax = {"module__end": nn.Softmax(1), "criterion": nn.NLLLoss}
    NeuralNetClassifier(Ends, **softmax, max_epochs=2).fit(X, Y)


@pytest.mark.parametrize("hidden", [np.int64(5), (np.int32(5),), np.array([5, 3]), [5]])
def test_widths_of_numpy(hidden):
    net = NeuralNetClassifier(module__hidden=hidden, max_epochs=1).fit(X, Y)
    assert net.module_.body[0].out_features == 5
    with pytest.raises(ValueError, match="tuple of positive ints"):
        NeuralNetClassifier(module__hidden=(np.True_,), max_epochs=1).fit(X, Y)
