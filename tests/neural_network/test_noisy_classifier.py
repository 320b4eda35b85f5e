"""The channel of noisy labels: its constraint, its gradient, what it learns, who sees it."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from torch import nn

from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier, NoiseChannelLayer, NoisyChannelClassifier
from skal.neural_network._noise_channel import project_columns
from skal.oracles import NoisyOracle
from skal.strategies import (
    BADGE,
    BALD,
    CoreSet,
    DeAn,
    EntropySampling,
    MarginSampling,
    NoiseStability,
)
from skal.views import NetView

UPDATES = ["euclidean", "softmax", "paper"]
X_IRIS, Y_IRIS = load_iris(return_X_y=True)
X_IRIS = StandardScaler().fit_transform(X_IRIS)


def symmetric_channel(n_classes, noise):
    W = np.full((n_classes, n_classes), noise / (n_classes - 1))
    np.fill_diagonal(W, 1 - noise)
    return W


def blobs(n_classes, noise, n=2400, seed=0):
    """Well separated classes, their labels, and noisy labels."""
    rng = np.random.RandomState(seed)
    y = rng.randint(0, n_classes, n)
    X = rng.randn(n, n_classes) + 6 * np.eye(n_classes)[y]
    other = (y + rng.randint(1, n_classes, n)) % n_classes
    return X, y, np.where(rng.rand(n) < noise, other, y)


def linear_net(**params):
    defaults = {"module__hidden": (), "lr": 0.01, "max_epochs": 45, "batch_size": 128}
    defaults |= {"estimate": "joint", "random_state": 0}
    return NoisyChannelClassifier(**{**defaults, **params})


class Watch(Callback):
    """Remembers the channel after every step."""

    def initialize(self):
        self.channels = []
        return self

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.channels.append(net.noise_layer_.matrix().detach().double().numpy().copy())


# ---------------------------------------------------------------------- the layer


def nearest_on_simplex(v):
    """Project by quadratic programming."""
    result = minimize(
        lambda w: ((w - v) ** 2).sum(),
        np.full(len(v), 1 / len(v)),
        jac=lambda w: 2 * (w - v),
        bounds=[(0, None)] * len(v),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-14, "maxiter": 500},
        method="SLSQP",
    )
    return result.x


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_projection_is_that_of_a_quadratic_programme(k):
    V = np.random.RandomState(k).randn(k, 12) * 2
    W = project_columns(torch.as_tensor(V)).numpy()
    expected = np.stack([nearest_on_simplex(v) for v in V.T], axis=1)
    assert_allclose(W, expected, atol=1e-6)
    assert_allclose(W.sum(0), 1)
    assert_allclose(project_columns(torch.as_tensor(W)).numpy(), W, atol=1e-12)


@pytest.mark.parametrize("update", UPDATES)
def test_probabilities_of_labels_sum_to_one(update):
    P = torch.softmax(torch.randn(5, 4), 1)
    W = symmetric_channel(4, 0.2)
    layer = NoiseChannelLayer(4, channel=W, update=update)
    assert_allclose(layer.matrix().detach().numpy(), W, rtol=1e-5)
    assert_allclose(layer(P).detach().numpy(), P.numpy() @ W.T, rtol=1e-5)
    assert_allclose(layer(P).sum(1).detach().numpy(), 1, rtol=1e-6)


def test_softmax_starts_near_the_identity_and_fixed_channels_are_exact():
    assert_allclose(
        NoiseChannelLayer(5, update="softmax").matrix().detach(),
        symmetric_channel(5, 0.05),
        rtol=1e-5,
    )
    fixed = NoiseChannelLayer(5, update="softmax", trainable=False)
    assert_array_equal(fixed.matrix().detach(), np.eye(5))
    assert_array_equal(NoiseChannelLayer(1, update="softmax").matrix().detach(), [[1.0]])


def test_a_column_of_zeros_becomes_that_of_a_faultless_answer():
    layer = NoiseChannelLayer(3, update="paper")
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -1.0, 0.2], [0.5, -0.1, 0.2], [0.0, -2.0, -0.1]]))
    layer.constrain_()
    assert_allclose(layer.matrix().detach(), [[0.5, 0, 0.5], [0.5, 1, 0.5], [0, 0, 0]])


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        (np.eye(2), r"shape \(3, 3\).*Got shape \(2, 2\)"),
        (np.eye(3) - 0.1, "hold probabilities. Got values from -0.1 to 0.9"),
        (np.full((3, 3), np.nan), "hold probabilities"),
        (np.full((3, 3), 0.5), "columns that sum to 1.*Got a column with sum 1.5 instead.$"),
        ([[0.8, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], "pass the transpose"),
    ],
)
def test_channels_that_are_none(channel, message):
    with pytest.raises(ValueError, match="'channel' parameter of NoiseChannelLayer.*" + message):
        NoiseChannelLayer(3, channel=channel)
    with pytest.raises(ValueError, match="'channel' parameter of NoisyChannelClass.*" + message):
        NoisyChannelClassifier(channel=channel).fit(X_IRIS, Y_IRIS)


def test_unknown_update():
    with pytest.raises(ValueError, match="'update' parameter of NoiseChannelLayer.*Got 'adam'"):
        NoiseChannelLayer(3, update="adam")


# ---------------------------------------------------------------------- the loss


def loss_of(net, logits, target):
    return net.get_loss(logits, target)


def fitted(channel=None, **params):
    return linear_net(max_epochs=1, channel=channel, trainable=False, **params).fit(X_IRIS, Y_IRIS)


def test_identity_gives_cross_entropy():
    logits, target = torch.randn(9, 3) * 3, torch.randint(0, 3, (9,))
    expected = nn.functional.cross_entropy(logits, target)
    assert_allclose(loss_of(fitted(), logits, target), expected, rtol=1e-4)
    probabilities = fitted(criterion=nn.NLLLoss, module=Probabilities)
    loss = loss_of(probabilities, torch.softmax(logits, 1), target)
    assert_allclose(loss, expected, rtol=1e-4)


class Probabilities(nn.Module):
    def __init__(self, n_features, n_outputs, hidden=()):
        super().__init__()
        self.linear = nn.Linear(n_features, n_outputs)

    def forward(self, X):
        return torch.softmax(self.linear(X), 1)


def test_gradients_by_formula():
    rng = np.random.RandomState(0)
    W = rng.dirichlet(np.ones(3), 3).T
    net = linear_net(channel=W, max_epochs=1).fit(X_IRIS, Y_IRIS)
    net.noise_layer_.weight.data = torch.as_tensor(W)
    logits = torch.randn(1, 3, dtype=torch.float64, requires_grad=True)
    y = 1
    net.noise_layer_.weight.grad = None
    loss_of(net, logits, torch.tensor([y])).backward()
    p = torch.softmax(logits, 1).detach().numpy()[0]
    noisy = W @ p + 1e-6
    by_hand = np.zeros((3, 3))
    by_hand[y] = -p / noisy[y]
    assert_allclose(net.noise_layer_.weight.grad.numpy(), by_hand, rtol=1e-6)
    responsibility = W[y] * p / noisy[y]
    assert_allclose(logits.grad.numpy()[0], p - responsibility, atol=5e-6)


def test_a_confident_mistake_has_a_finite_loss_and_a_gradient():
    net = linear_net(max_epochs=1).fit(X_IRIS, Y_IRIS)
    with torch.no_grad():
        net.noise_layer_.weight.copy_(torch.eye(3))
    net.noise_layer_.weight.grad = None
    loss = loss_of(net, torch.tensor([[500.0, 0.0, 0.0]]), torch.tensor([2]))
    loss.backward()
    assert_allclose(loss.item(), -np.log(1e-6), rtol=1e-3)
    assert net.noise_layer_.weight.grad[2, 0] < -1e5


def test_class_weights_and_row_weights_reach_the_loss_behind_the_channel():
    W = symmetric_channel(3, 0.3)
    class_weight, weight = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 0.5, 2.0, 1.5])
    net = fitted(W, criterion__weight=class_weight)
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    noisy = torch.softmax(logits, 1) @ torch.as_tensor(W.T).float()
    losses = -torch.log(noisy[range(4), target]) * class_weight[target]
    expected = (weight * losses).sum() / (weight * class_weight[target]).sum()
    assert_allclose(net.get_loss(logits, (target, weight)), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"criterion": nn.MultiMarginLoss}, "Got MultiMarginLoss instead"),
        ({"criterion__label_smoothing": 0.1}, "Got label_smoothing=0.1 instead"),
    ],
)
def test_other_criteria_are_refused(params, message):
    with pytest.raises(ValueError, match="must be torch.nn.CrossEntropyLoss.*" + message):
        linear_net(**params).fit(X_IRIS, Y_IRIS)


# ---------------------------------------------------------------------- training


@pytest.mark.parametrize("update", UPDATES)
def test_columns_are_distributions_after_every_step(update):
    X, _, noisy = blobs(3, 0.3, n=300)
    watch = Watch()
    net = linear_net(update=update, max_epochs=5, callbacks=[watch]).fit(X, noisy)
    channels = np.array(dict(net.callbacks_)["Watch"].channels)
    assert len(channels) == 15
    assert (channels >= 0).all()
    assert_allclose(channels.sum(1), 1, atol=1e-6)
    assert not np.array_equal(channels[0], channels[-1])
    assert_array_equal(net.noise_channel_, channels[-1])


@pytest.mark.parametrize("update", ["euclidean", "softmax"])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_recovers_a_symmetric_channel(update, n_classes):
    noise = 0.3 if n_classes > 2 else 0.2
    X, y, noisy = blobs(n_classes, noise)
    net = linear_net(update=update).fit(X, noisy)
    assert_allclose(net.noise_channel_, symmetric_channel(n_classes, noise), atol=0.08)
    assert net.score(X, y) > 0.99
    # The probabilities are those of the true classes: they do not shy away from 1.
    assert net.predict_proba(X)[np.arange(len(y)), y].mean() > 0.9


def test_recovers_the_channel_of_an_oracle_that_is_not_symmetric():
    X, y, _ = blobs(4, 0.0)
    W = 0.7 * np.eye(4) + 0.3 * np.roll(np.eye(4), 1, axis=0)
    oracle = NoisyOracle(None, channel=W, random_state=0).fit(X, y)
    noisy = oracle.label(X, np.arange(len(y)))
    assert_allclose(linear_net().fit(X, noisy).noise_channel_, W, atol=0.08)


@pytest.mark.parametrize("update", ["euclidean", "softmax"])
def test_labels_without_faults_leave_the_diagonal(update):
    X, y, _ = blobs(4, 0.0)
    assert linear_net(update=update).fit(X, y).noise_channel_.diagonal().min() > 0.98


class Ignorant(nn.Module):
    """Gives every class the same probability, whatever the row."""

    def __init__(self, n_outputs):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))
        self.n_outputs = n_outputs

    def forward(self, X):
        return torch.zeros(len(X), self.n_outputs) * self.scale


@pytest.mark.parametrize("steps", [100, 450])
def test_the_published_update_drifts_to_the_uniform_channel(steps):
    K, lr = 10, 1e-3
    X, y = np.random.RandomState(0).randn(20, 2), np.tile(np.arange(K), 2)
    net = NoisyChannelClassifier(
        Ignorant, update="paper", lr=lr, max_epochs=steps, batch_size=-1, random_state=0
    )
    diagonal = 1 / K + (1 - 1 / K) * (1 + K * lr) ** -steps
    drifted = symmetric_channel(K, 1 - diagonal)
    assert_allclose(net.fit(X, y).noise_channel_, drifted, atol=2e-3)
    stays = clone(net).set_params(update="euclidean").fit(X, y).noise_channel_
    assert stays.diagonal().min() > 0.98


def test_weight_decay_of_the_published_update():
    X, _, noisy = blobs(3, 0.3, n=300)
    channels = [
        linear_net(update="paper", max_epochs=5, channel_weight_decay=decay)
        .fit(X, noisy)
        .noise_channel_
        for decay in (0.0, 2.5)
    ]
    assert not np.allclose(*channels, atol=1e-3)
    with pytest.raises(ValueError, match="'channel_weight_decay'.*needs update='paper'. Got 0.5"):
        linear_net(channel_weight_decay=0.5).fit(X, noisy)


def test_learning_rate_of_the_channel():
    X, _, noisy = blobs(3, 0.3, n=300)
    for update in UPDATES:
        slow = linear_net(update=update, channel_lr=1e-9, max_epochs=3).fit(X, noisy)
        start = NoiseChannelLayer(3, update=update).matrix().detach()
        assert_allclose(slow.noise_channel_, start, atol=1e-6)
        fast = linear_net(update=update, max_epochs=3).fit(X, noisy)
        assert abs(fast.noise_channel_ - start.numpy()).max() > 1e-3


def test_a_known_channel_is_left_alone():
    X, y, noisy = blobs(4, 0.4)
    W = symmetric_channel(4, 0.4)
    for update in UPDATES:
        net = linear_net(channel=W, trainable=False, update=update, max_epochs=5).fit(X, noisy)
        assert_allclose(net.noise_channel_, W, atol=1e-7)
    assert net.score(X, y) > 0.99


def test_one_pass_per_step_also_for_closures():
    class Counting(nn.Module):
        calls = 0

        def __init__(self, n_features, n_outputs):
            super().__init__()
            self.linear = nn.Linear(n_features, n_outputs)

        def forward(self, X):
            Counting.calls += 1
            return self.linear(X)

    params = {"max_epochs": 2, "batch_size": 50, "estimate": "joint"}
    NoisyChannelClassifier(Counting, **params).fit(X_IRIS, Y_IRIS)
    assert Counting.calls == 6
    lbfgs = {"optimizer": torch.optim.LBFGS, "lr": 1.0, "max_epochs": 3, "batch_size": -1}
    net = linear_net(**lbfgs).fit(X_IRIS, Y_IRIS)
    assert net.score(X_IRIS, Y_IRIS) > 0.9
    with pytest.raises(ValueError, match="LBFGS takes one group only"):
        linear_net(update="paper", **lbfgs).fit(X_IRIS, Y_IRIS)


@pytest.mark.parametrize("update", UPDATES)
def test_row_weights_are_repetitions(update):
    rng = np.random.RandomState(0)
    weight = rng.randint(1, 4, len(X_IRIS))
    net = linear_net(update=update, batch_size=-1, max_epochs=10)
    weighted = clone(net).fit(X_IRIS, Y_IRIS, sample_weight=weight)
    repeated = net.fit(np.repeat(X_IRIS, weight, axis=0), np.repeat(Y_IRIS, weight))
    assert_array_equal(weighted.noise_channel_, repeated.noise_channel_)
    assert_array_equal(weighted.predict_proba(X_IRIS), repeated.predict_proba(X_IRIS))


# ---------------------------------------------------------------------- going on, classes, files


def test_warm_start_and_partial_fit_go_on_and_fit_starts_anew():
    X, _, noisy = blobs(3, 0.3, n=600)
    once = linear_net(max_epochs=20).fit(X, noisy)
    again = linear_net(max_epochs=10).partial_fit(X, noisy)
    first = again.noise_channel_
    again.partial_fit(X, noisy)
    assert again.noise_channel_.diagonal().mean() < first.diagonal().mean() < 1
    warm = linear_net(max_epochs=10, warm_start=True).fit(X, noisy).fit(X, noisy)
    assert_array_equal(warm.noise_channel_, again.noise_channel_)
    assert_array_equal(once.fit(X, noisy).noise_channel_, once.fit(X, noisy).noise_channel_)
    assert_allclose(once.noise_channel_, warm.noise_channel_, atol=0.05)
    watch = Watch()
    once.set_params(callbacks=[watch], max_epochs=1).fit(X, noisy)
    assert dict(once.callbacks_)["Watch"].channels[0].diagonal().min() > 0.9


@pytest.mark.parametrize("update", UPDATES)
def test_a_class_without_rows_keeps_its_column(update):
    X, y, noisy = blobs(3, 0.2, n=600)
    X /= 6  # a net that is confident before it has learnt anything would mislead the channel
    net = linear_net(update=update, classes=["a", "b", "c", "d"], max_epochs=30)
    net.fit(X, np.array(["a", "b", "d"])[noisy])
    assert_array_equal(net.classes_, ["a", "b", "c", "d"])
    assert net.noise_channel_.shape == (4, 4)
    if update != "paper":
        assert net.noise_channel_[2, 2] > 0.5
    assert net.predict_proba(X).shape == (600, 4)
    assert (net.predict(X) == np.array(["a", "b", "d"])[y]).mean() > 0.97


def test_two_classes_with_probabilities():
    X, y, noisy = blobs(2, 0.2)
    net = linear_net(module=Probabilities, criterion=nn.NLLLoss).fit(X, noisy)
    assert_allclose(net.noise_channel_, symmetric_channel(2, 0.2), atol=0.08)
    assert net.score(X, y) > 0.99


def test_attributes_before_fit():
    net = linear_net(max_epochs=2, channel=symmetric_channel(3, 0.1))
    assert not hasattr(net, "noise_channel_")
    with pytest.raises(AttributeError, match="no attribute 'noise_channel_' before fit"):
        _ = net.noise_channel_
    net.set_params(module__n_features=4, module__n_outputs=3).initialize()
    assert not hasattr(net, "noise_channel_")


def test_pickle_and_clone():
    net = linear_net(max_epochs=2).fit(X_IRIS, Y_IRIS)
    copy = pickle.loads(pickle.dumps(net))
    assert_array_equal(copy.noise_channel_, net.noise_channel_)
    net.partial_fit(X_IRIS, Y_IRIS)
    copy.partial_fit(X_IRIS, Y_IRIS)
    assert_array_equal(copy.noise_channel_, net.noise_channel_)
    assert not hasattr(clone(net), "noise_layer_")


def test_trains_on_any_device(device):
    net = linear_net(max_epochs=3, device=device).fit(X_IRIS, Y_IRIS)
    assert net.noise_layer_.weight.device.type == torch.device(device).type
    assert_allclose(net.noise_channel_.sum(0), 1, atol=1e-6)
    # Going on elsewhere takes the channel along.
    net.set_params(device="cpu").partial_fit(X_IRIS, Y_IRIS)
    assert net.noise_layer_.weight.device.type == "cpu"


# ---------------------------------------------------------------------- who sees the channel


def test_prediction_and_views_are_those_of_the_net_without_the_channel():
    net = linear_net(max_epochs=3, module__hidden=(8,)).fit(X_IRIS, Y_IRIS)
    seen = [
        lambda: net.predict_proba(X_IRIS),
        lambda: net.predict(X_IRIS),
        lambda: NetView(net).log_probabilities(X_IRIS),
        lambda: NetView(net).features(X_IRIS),
        lambda: NetView(net).logits(X_IRIS),
    ]
    before = [quantity() for quantity in seen]
    with torch.no_grad():
        net.noise_layer_.weight.copy_(torch.full((3, 3), 1 / 3))
    for quantity, value in zip(seen, before, strict=True):
        assert_array_equal(quantity(), value)
    assert torch.equal(NetView(net).head.weight, net.module_.head.weight)
    assert_allclose(before[2].exp(), before[0], rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*labelled already:UserWarning")
@pytest.mark.parametrize(
    "strategy",
    [
        BADGE(),
        CoreSet(),
        MarginSampling(),
        EntropySampling(),
        NoiseStability(n_perturbations=3),
        BALD(n_passes=5),
        DeAn(n_passes=5),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_strategies_see_the_net_without_the_channel(strategy):
    net = linear_net(max_epochs=3, module__hidden=(8,), module__dropout=0.3)
    learner = ActiveLearner(make_pipeline(StandardScaler(), net), strategy, random_state=0)
    learner.fit(X_IRIS[::5], Y_IRIS[::5])
    rows = learner.query(X_IRIS, 5)
    fitted_net = learner.estimator_[-1]
    with torch.no_grad():
        fitted_net.noise_layer_.weight.copy_(torch.full((3, 3), 1 / 3))
    assert_array_equal(learner.query(X_IRIS, 5), rows)
    learner.teach(X_IRIS[rows], Y_IRIS[rows])
    assert learner.estimator_[-1].noise_channel_.diagonal().min() > 0.8


def test_grid_search_over_the_channel():
    search = GridSearchCV(
        make_pipeline(StandardScaler(), linear_net(max_epochs=15, batch_size=16)),
        {
            "noisychannelclassifier__update": ["euclidean", "softmax"],
            "noisychannelclassifier__channel": [None, symmetric_channel(3, 0.1)],
        },
        cv=2,
    ).fit(X_IRIS, Y_IRIS)
    assert search.best_score_ > 0.7
    assert search.best_estimator_[-1].noise_channel_.shape == (3, 3)


def test_validation_loss_is_that_behind_the_channel():
    split = ValidSplit(3, stratified=True)
    W = symmetric_channel(3, 0.3)
    losses = {}
    for name, channel in {"channel": W, "none": None}.items():
        net = linear_net(lr=0.1, train_split=split, channel=channel, trainable=False).fit(
            X_IRIS, Y_IRIS
        )
        losses[name] = net.history[-1, "valid_loss"]
    # Behind this channel, no label is more probable than 0.7.
    assert losses["channel"] > -np.log(0.7) > losses["none"]


def test_same_net_as_without_a_channel_where_it_is_the_identity():
    params = {"max_epochs": 5, "module__hidden": (8,), "lr": 0.01, "random_state": 0}
    plain = NeuralNetClassifier(**params).fit(X_IRIS, Y_IRIS)
    net = NoisyChannelClassifier(trainable=False, **params).fit(X_IRIS, Y_IRIS)
    assert_allclose(net.predict_proba(X_IRIS), plain.predict_proba(X_IRIS), atol=1e-3)
