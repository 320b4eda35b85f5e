"""The average of the weights against closed forms, and through everything a net goes through."""

import copy
import pickle

import numpy as np
import pytest
import skorch
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from torch import nn

from skal.neural_network import EMACallback, NeuralNetClassifier, NeuralNetRegressor
from skal.neural_network._averaging import find_average

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X).astype(np.float32)


class Recorder(Callback):
    """Keeps the weights before the first step and after every step."""

    def initialize(self):
        self.steps_ = []
        return self

    def on_train_begin(self, net, **kwargs):
        if not self.steps_:
            self.steps_.append(_flat(net.module_))

    def on_batch_end(self, net, training, **kwargs):
        if training:
            self.steps_.append(_flat(net.module_))


class Interrupt(Callback):
    """Presses Ctrl-C in the middle of an epoch, once."""

    def __init__(self, at):
        self.at = at

    def on_batch_begin(self, net, training, **kwargs):
        if training and self.at == 0:
            self.at = -1
            raise KeyboardInterrupt
        self.at -= 1


class Normed(nn.Module):
    """With running statistics and an integer buffer, from batch normalisation."""

    def __init__(self, n_features=4, n_outputs=3):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(n_features, 6), nn.BatchNorm1d(6), nn.ReLU())
        self.head = nn.Linear(6, n_outputs)

    def forward(self, x):
        return self.head(self.body(x))


def _flat(module):
    return torch.cat([p.detach().double().ravel() for p in module.parameters()])


def _net(ema, *others, **kwargs):
    settings = {"max_epochs": 6, "batch_size": 50, "lr": 0.05, "random_state": 0, **kwargs}
    return NeuralNetClassifier(callbacks=[("ema", ema), *others], **settings)


def _trained(ema, **kwargs):
    net = _net(ema, ("recorder", Recorder()), **kwargs).fit(X, Y)
    callbacks = dict(net.callbacks_)
    return net, callbacks["ema"], callbacks["recorder"].steps_


def test_constant_rate_has_the_closed_form():
    alpha = 0.9
    _, ema, steps = _trained(EMACallback(alpha, warmup=False))
    T = len(steps) - 1
    expected = alpha**T * steps[0] + (1 - alpha) * sum(
        alpha ** (T - t) * steps[t] for t in range(1, T + 1)
    )
    assert ema.n_updates_ == T == 18
    assert_allclose(_flat(ema.averaged_), expected, atol=1e-6)


def test_warm_up_is_a_plain_mean_and_then_the_recursion():
    _, ema, steps = _trained(EMACallback(0.999))
    assert_allclose(_flat(ema.averaged_), sum(steps) / len(steps), atol=1e-6)
    _, ema, steps = _trained(EMACallback(0.8))
    expected = steps[0]
    for t in range(1, len(steps)):
        a = min(1 - 1 / (t + 1), 0.8)
        expected = a * expected + (1 - a) * steps[t]
    assert_allclose(_flat(ema.averaged_), expected, atol=1e-6)


@pytest.mark.parametrize("warmup", [True, False])
def test_alpha_zero_is_the_net_itself(warmup):
    net, ema, _ = _trained(EMACallback(0, warmup=warmup), module=Normed)
    own, (theta, beta) = net.module_.state_dict(), ema.snapshot_
    for name, value in ema.averaged_.state_dict().items():
        assert torch.equal(value, own[name]) and torch.equal(theta[name], beta[name])


def test_without_learning_the_average_stays_at_the_start():
    _, ema, steps = _trained(EMACallback(0.9), lr=1e-30)
    assert torch.equal(steps[0], steps[-1])
    assert_allclose(_flat(ema.averaged_), steps[0], atol=1e-7)


def test_alpha_one_never_leaves_the_start():
    _, ema, steps = _trained(EMACallback(1.0, warmup=False))
    assert torch.equal(_flat(ema.averaged_), steps[0])


def test_half_precision_is_averaged_in_float32():
    class HalfNet(skorch.NeuralNetClassifier):
        def initialize_module(self):
            super().initialize_module()
            self.module_.to(torch.bfloat16)
            return self

    ema = EMACallback(0.999, warmup=False, snapshot="end")
    net = HalfNet(
        Normed,
        criterion=nn.CrossEntropyLoss,
        lr=0.1,
        max_epochs=2,
        batch_size=50,
        train_split=None,
        callbacks=[ema, ("recorder", Recorder())],
        verbose=0,
    )
    net.fit(torch.tensor(X).bfloat16(), torch.tensor(Y))
    steps = dict(net.callbacks_)["recorder"].steps_
    expected = steps[0]
    for step in steps[1:]:
        expected = 0.999 * expected + 0.001 * step
    assert next(ema.averaged_.parameters()).dtype == torch.float32
    assert not torch.equal(_flat(ema.averaged_), steps[0])
    assert_allclose(_flat(ema.averaged_), expected, atol=1e-6)


def test_buffers_are_averaged_or_copied():
    class Statistics(Recorder):
        def on_train_begin(self, net, **kwargs):
            self.steps_.append(net.module_.body[1].running_mean.double().clone())

        def on_batch_end(self, net, training, **kwargs):
            self.steps_.append(net.module_.body[1].running_mean.double().clone())

    ema = EMACallback(0.7, warmup=False)
    net = _net(ema, ("statistics", Statistics()), module=Normed).fit(X, Y)
    steps = dict(net.callbacks_)["statistics"].steps_
    expected = steps[0]
    for step in steps[1:]:
        expected = 0.7 * expected + 0.3 * step
    norm = dict(net.callbacks_)["ema"].averaged_.body[1]
    assert_allclose(norm.running_mean, expected, atol=1e-6)
    assert norm.num_batches_tracked == 18
    copied = _net(EMACallback(0.7, average_buffers=False), module=Normed).fit(X, Y)
    norm = find_average(copied).averaged_.body[1]
    assert torch.equal(norm.running_mean, copied.module_.body[1].running_mean)


def test_the_net_learns_the_same_with_and_without():
    plain = NeuralNetClassifier(
        module=Normed, max_epochs=6, batch_size=50, lr=0.05, random_state=0
    ).fit(X, Y)
    for ema in (EMACallback(), EMACallback(ema_init="independent", snapshot="end")):
        averaged = _net(ema, module=Normed).fit(X, Y)
        assert torch.equal(_flat(plain.module_), _flat(averaged.module_))


def test_an_independent_start_is_another_one():
    _, ema, steps = _trained(EMACallback(1.0, warmup=False, ema_init="independent"))
    start = _flat(ema.averaged_)
    assert start.shape == steps[0].shape and (start - steps[0]).norm() > 0.5
    again = _trained(EMACallback(1.0, warmup=False, ema_init="independent"))[1]
    assert torch.equal(start, _flat(again.averaged_))


def test_an_independent_start_needs_a_class():
    net = skorch.NeuralNetClassifier(
        Normed(),
        criterion=nn.CrossEntropyLoss,
        callbacks=[EMACallback(ema_init="independent")],
        train_split=None,
        verbose=0,
    )
    with pytest.raises(ValueError, match="Pass the class of the module"):
        net.fit(X, Y)


def test_fit_starts_again_and_partial_fit_goes_on():
    net = _net(EMACallback(0.9), ("recorder", Recorder())).fit(X, Y)
    first = _flat(find_average(net).averaged_)
    net.fit(X, Y)
    assert find_average(net).n_updates_ == 18
    assert torch.equal(_flat(find_average(net).averaged_), first)
    net.partial_fit(X, Y)
    ema, steps = find_average(net), dict(net.callbacks_)["recorder"].steps_
    expected = steps[0]
    for t in range(1, len(steps)):
        a = min(1 - 1 / (t + 1), 0.9)
        expected = a * expected + (1 - a) * steps[t]
    assert ema.n_updates_ == 36
    assert_allclose(_flat(ema.averaged_), expected, atol=1e-6)
    warm = _net(EMACallback(0.9), warm_start=True).fit(X, Y).fit(X, Y)
    assert find_average(warm).n_updates_ == 36


def test_pickle_copies_and_clones():
    net = make_pipeline(StandardScaler(), _net(EMACallback(0.9), module=Normed)).fit(X, Y)
    original = find_average(net[-1])
    for other in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        ema = find_average(other[-1])
        assert torch.equal(_flat(ema.averaged_), _flat(original.averaged_))
        assert_allclose(ema.snapshot_[1]["head.weight"], original.snapshot_[1]["head.weight"])
        other[-1].partial_fit(X, Y)
        assert ema.n_updates_ == 36 and original.n_updates_ == 18
    fresh = clone(net)
    given = dict(fresh[-1].callbacks)["ema"]
    assert given.alpha == 0.9 and not hasattr(given, "model_")
    fresh.set_params(neuralnetclassifier__callbacks__ema__alpha=0.5).fit(X, Y)
    assert find_average(fresh[-1]).alpha == 0.5
    assert not hasattr(given, "model_"), "a copy is trained with, not the callback given"


def test_an_interrupted_training_can_go_on():
    net = _net(EMACallback(0.9), ("stop", Interrupt(at=1000))).fit(X, Y)
    ema = find_average(net)
    pair = ema.snapshot_
    dict(net.callbacks_)["stop"].at = 4
    with pytest.raises(KeyboardInterrupt):
        net.partial_fit(X, Y)
    assert ema.n_updates_ == 22 and ema.snapshot_ is pair
    net.partial_fit(X, Y)
    assert ema.n_updates_ == 40 and ema.snapshot_ is not pair


def test_own_steps_go_on_with_the_recursion():
    net = _net(EMACallback(0.999)).fit(X, Y)
    ema, module = find_average(net), copy.deepcopy(net.module_)
    before = _flat(ema.averaged_)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    ema.update(module)
    assert ema.n_updates_ == 19
    assert_allclose(_flat(ema.averaged_), before + (_flat(module) - before) / 20, atol=1e-6)
    ema.take_snapshot(module)
    main, averaged = ema.snapshot_modules()
    assert torch.equal(_flat(main), _flat(module)) and not main.training
    assert torch.equal(_flat(averaged), _flat(ema.averaged_))
    assert averaged is not ema.averaged_ and not any(p.requires_grad for p in main.parameters())


class Gaps(Recorder):
    """Accuracies of an epoch by hand: of the outputs, and of the average before its update."""

    def on_train_begin(self, net, **kwargs):
        pass

    def on_epoch_begin(self, net, **kwargs):
        self.right_ = np.zeros(3)

    def on_batch_end(self, net, batch, training, y_pred, **kwargs):
        rows, target = batch
        averaged = find_average(net).averaged_(rows)
        self.right_ += [
            (values.argmax(1) == target).sum().item() for values in (y_pred, averaged)
        ] + [len(target)]

    def on_epoch_end(self, net, **kwargs):
        self.steps_.append((self.right_[0] - self.right_[1]) / self.right_[2])


@pytest.mark.parametrize("patience", [1, 2, 30])
def test_the_pair_is_taken_when_the_gap_has_shrunk(patience):
    # The one that counts by hand stands first: before the update.
    callbacks = [("gaps", Gaps()), ("ema", EMACallback(0.97, patience=patience))]
    net = NeuralNetClassifier(
        module=Normed, callbacks=callbacks, max_epochs=12, batch_size=30, lr=0.01, random_state=1
    ).fit(X, Y)
    expected = dict(net.callbacks_)["gaps"].steps_
    ema, count, epoch = find_average(net), 0, 12
    for e, gap in enumerate(expected):
        count = count + 1 if gap < ([0.0, *expected])[e] else 0
        if count == patience:
            epoch = e + 1
            break
    assert_allclose(ema.gaps_, expected[:epoch], atol=1e-12)
    assert ema.snapshot_epoch_ == epoch
    assert (epoch == 12) == (patience == 30)
    same = torch.equal(ema.snapshot_[1]["head.weight"], ema.averaged_.head.weight)
    assert same == (epoch == 12)


def test_weights_count_in_the_accuracies():
    weight = np.where(Y == 0, 3.0, 1.0)
    net = _net(EMACallback(0.9), max_epochs=1, batch_size=150).fit(X, Y, sample_weight=weight)
    # One batch: both sets of weights are the initial ones.
    assert find_average(net).gaps_ == [0.0]


def test_the_callback_works_with_plain_skorch_nets():
    ema = EMACallback(0.9)
    net = skorch.NeuralNetClassifier(
        Normed,
        criterion=nn.CrossEntropyLoss,
        max_epochs=3,
        batch_size=50,
        train_split=None,
        callbacks=[ema],
        verbose=0,
    ).fit(X, Y)
    assert find_average(net) is ema and ema.n_updates_ == 9 and len(ema.gaps_) == 3
    net.partial_fit(X, Y)
    assert ema.n_updates_ == 18
    net.set_params(module__n_outputs=4).partial_fit(X, Y)
    assert ema.n_updates_ == 9 and ema.averaged_.head.out_features == 4
    again = pickle.loads(pickle.dumps(net)).partial_fit(X, Y)
    assert find_average(again).n_updates_ == 18
    assert net.fit(X, Y) and ema.n_updates_ == 9


def test_one_output_of_a_binary_net():
    class One(Normed):
        def __init__(self):
            super().__init__(4, 1)

        def forward(self, x):
            return super().forward(x)[:, 0]

    ema = EMACallback(0.9)
    net = skorch.NeuralNetBinaryClassifier(
        One, max_epochs=2, batch_size=50, train_split=None, callbacks=[ema], verbose=0
    )
    net.fit(X[:100], Y[:100].astype(np.float32))
    assert len(ema.gaps_) == 2 and ema.n_updates_ == 4


def test_regressors_take_the_end():
    y = X[:, 0].astype(float)
    with pytest.raises(ValueError, match="Use snapshot='end'"):
        NeuralNetRegressor(callbacks=[EMACallback()], max_epochs=2).fit(X, y)
    net = NeuralNetRegressor(callbacks=[EMACallback(snapshot="end")], max_epochs=2).fit(X, y)
    assert find_average(net).snapshot_epoch_ == 2


@pytest.mark.parametrize(
    "bad", [{"alpha": 1.5}, {"patience": 0}, {"snapshot": "best"}, {"ema_init": "zeros"}]
)
def test_bad_parameters_are_named(bad):
    with pytest.raises(ValueError, match=f"The '{next(iter(bad))}' parameter of EMACallback"):
        _net(EMACallback(**bad)).fit(X, Y)


def test_before_training_there_is_no_average():
    with pytest.raises(NotFittedError, match="has averaged no weights yet"):
        _ = EMACallback().averaged_
    assert find_average(NeuralNetClassifier()) is None
