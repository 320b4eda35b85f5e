"""LHD against its formula by hand, its invariances, and in every place a strategy is used."""

import pickle
import warnings

import numpy as np
import pytest
import skorch
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris, make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skal import ActiveLearner
from skal.model_selection import BudgetedActiveLearner
from skal.neural_network import EMACallback, NeuralNetClassifier, NeuralNetRegressor
from skal.neural_network._averaging import find_average
from skal.strategies import BADGE, LHD
from skal.views import NetView, unwrap

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X).astype(np.float32)


class Normed(nn.Module):
    """With batch normalisation."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(n_features, 6), nn.BatchNorm1d(6), nn.ReLU())
        self.head = nn.Linear(6, n_outputs)

    def forward(self, x):
        return self.head(self.body(x))


class OneHidden(nn.Module):
    """With names for its two layers."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.hidden, self.head = nn.Linear(n_features, 9), nn.Linear(9, n_outputs)

    def forward(self, x):
        return self.head(self.hidden(x).relu())


def _net(module=OneHidden, ema=None, **kwargs):
    settings = {"max_epochs": 6, "batch_size": 30, "lr": 0.02, "random_state": 0, **kwargs}
    callbacks = None if ema is None else [("ema", ema)]
    return NeuralNetClassifier(module=module, callbacks=callbacks, **settings)


def _around(net, **kwargs):
    return LHD(FrozenEstimator(net), random_state=0, **kwargs).fit(X, Y)


def _by_hand(net, X):
    """dl (h_beta - h_theta) a row at a time, in float64, from the two modules themselves."""
    main, averaged = (m.double().eval() for m in find_average(unwrap(net)).snapshot_modules())
    rows = []
    for x in torch.tensor(X).double():
        hidden, losses, label = [], [], None
        for module in (averaged, main):
            calls = []
            handle = module.head.register_forward_hook(lambda _, args, out, c=calls: c.append(args))
            with torch.no_grad():
                logits = module(x[None])[0]
            handle.remove()
            hidden.append(calls[0][0][0])
            label = int(logits.argmax()) if label is None else label
            losses.append(torch.logsumexp(logits, 0) - logits[label])
        rows.append((losses[0] - losses[1]).abs() * (hidden[0] - hidden[1]))
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("average_buffers", [True, False])
@pytest.mark.parametrize("module", [OneHidden, Normed])
def test_the_embedding_is_that_of_the_paper(module, average_buffers):
    net = _net(module, EMACallback(0.9, average_buffers=average_buffers)).fit(X, Y)
    Z, expected = _around(net).transform(X), _by_hand(net, X)
    assert np.abs(expected).max() > 1e-3
    assert_allclose(Z, expected, atol=2e-5 * np.abs(expected).max(), rtol=1e-3)


def test_a_net_of_its_own_gets_the_average_of_its_parameters():
    options = {"alpha": 0.8, "warmup": False, "snapshot": "end", "average_buffers": False}
    fitted = LHD(_net(), patience=3, ema_init="independent", random_state=0, **options).fit(X, Y)
    ema = find_average(fitted.estimator_)
    expected = {**options, "patience": 3, "ema_init": "independent"}
    assert ema.get_params() == expected
    assert ema.n_updates_ == 30
    assert_allclose(fitted.transform(X), _by_hand(fitted.estimator_, X), rtol=1e-3, atol=1e-6)


def test_the_first_pick_is_the_longest_and_the_law_that_of_kmeans_plus_plus():
    net = _net(ema=EMACallback(0.9)).fit(X, Y)
    Z = _by_hand(net, X)
    norms = (Z**2).sum(1)
    longest = set(np.flatnonzero(norms > norms.max() * (1 - 1e-4)))
    seconds = []
    for seed in range(300):
        strategy = LHD(FrozenEstimator(net), random_state=seed).fit(X)
        first, second = strategy.query(X, 2)
        assert first in longest
        seconds.append(second)
    weights = ((Z - Z[first]) ** 2).sum(1)
    share = weights / weights.sum()
    # The heaviest rows up to half of the weight are drawn about half of the time.
    heavy = np.argsort(share)[::-1][: np.searchsorted(np.cumsum(np.sort(share)[::-1]), 0.5) + 1]
    expected = share[heavy].sum()
    found = np.isin(seconds, heavy).mean()
    assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / 300)


def test_the_two_losses_count_alike():
    net = _net(ema=EMACallback(0.95)).fit(X, Y)
    strategy, ema = _around(net), find_average(net)
    Z = strategy.transform(X)
    predicted = [m(torch.tensor(X)).argmax(1) for m in ema.snapshot_modules()]
    ema.snapshot_ = ema.snapshot_[::-1]
    swapped, same = strategy.transform(X), (predicted[0] == predicted[1]).numpy()
    assert same.sum() > 100
    assert_allclose(swapped[same], -Z[same], rtol=1e-5, atol=1e-9)


def test_rescaling_hidden_layer_against_head_scales_the_embedding():
    net = _net(ema=EMACallback(0.9)).fit(X, Y)
    strategy, ema = _around(net), find_average(net)
    Z, rows = strategy.transform(X), strategy.query(X, 40)
    c = 8.0
    factors = {"hidden.weight": c, "hidden.bias": c, "head.weight": 1 / c, "head.bias": 1.0}
    ema.snapshot_ = tuple({k: v * factors[k] for k, v in s.items()} for s in ema.snapshot_)
    assert_allclose(strategy.transform(X), c * Z, rtol=1e-6)
    assert_array_equal(strategy.query(X, 40), rows)


@pytest.mark.parametrize("what", ["alpha", "lr"])
def test_without_a_difference_the_batch_is_uniform_and_says_so(what):
    alpha, lr = (0.0, 0.02) if what == "alpha" else (0.9, 1e-30)
    net = _net(ema=EMACallback(alpha), lr=lr).fit(X, Y)
    strategy = _around(net)
    counts = np.zeros(150)
    with pytest.warns(UserWarning, match="finds no difference between the net and its average"):
        assert not strategy.transform(X).any()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(100):
            rows = LHD(FrozenEstimator(net), random_state=seed).fit(X).query(X, 30)
            assert len(np.unique(rows)) == 30
            counts[rows] += 1
    assert abs(counts - 20).max() < 5 * np.sqrt(100 * 0.2 * 0.8)


def test_of_identical_noisy_rows_a_batch_holds_at_most_one():
    clean, labels = make_blobs(400, n_features=5, centers=4, random_state=0)
    rng = np.random.RandomState(0)
    blank = np.zeros((1600, 5))
    pool = np.vstack([clean, blank])[(order := rng.permutation(2000))]
    target = np.concatenate([labels, rng.randint(4, size=1600)])[order]
    noisy = np.concatenate([np.zeros(400), np.ones(1600)])[order] == 1
    learner = ActiveLearner(
        make_pipeline(StandardScaler(), _net(classes=range(4), max_epochs=10)),
        LHD(alpha=0.97),
        random_state=0,
    ).fit(pool[:60], target[:60])
    for seed in range(5):
        rows = learner.set_params(random_state=seed).fit(pool[:60], target[:60]).query(pool, 100)
        assert noisy[rows].sum() <= 1


def test_sure_rows_have_finite_embeddings():
    net = _net(ema=EMACallback(0.9)).fit(X, Y)
    Z = _around(net).transform(1000 * X)
    assert np.isfinite(Z).all() and Z.any()


def test_a_whole_loop_in_a_learner():
    net = make_pipeline(StandardScaler(), _net(classes=range(3)))
    learner = ActiveLearner(net, LHD(alpha=0.9), random_state=0)
    order = np.random.RandomState(0).permutation(150)
    start, pool = order[:20], order[20:]
    learner.fit(X[start], Y[start])
    assert net[-1].callbacks is None, "the net given is left alone"
    for _ in range(3):
        rows = learner.query(X[pool], 10)
        assert_array_equal(rows, learner.query(X[pool], 10))
        again = pickle.loads(pickle.dumps(learner))
        assert_array_equal(rows, again.query(X[pool], 10))
        learner.teach(X[pool[rows]], Y[pool[rows]])
        pool = np.delete(pool, rows)
    assert learner.n_labeled_ == 50
    assert find_average(learner.estimator_[-1]).n_updates_ == 12  # 50 rows: two batches
    assert learner.score(X, Y) > 0.7


def test_a_warm_learner_goes_on_with_the_average():
    learner = ActiveLearner(_net(), LHD(alpha=0.9), warm_start=True, random_state=0)
    learner.fit(X[:60], Y[:60] % 2)
    assert find_average(learner.estimator_).n_updates_ == 12
    learner.teach(X[60:90], Y[60:90] % 2)
    assert find_average(learner.estimator_).n_updates_ == 12 + 18
    assert len(learner.query(X, 5)) == 5


def test_an_average_that_is_there_already_counts():
    for given in (EMACallback(0.5), ("mine", EMACallback(0.5)), EMACallback):
        net = NeuralNetClassifier(max_epochs=2, callbacks=[given], random_state=0)
        learner = ActiveLearner(net, LHD(alpha=0.9)).fit(X, Y)
        found = [c for _, c in learner.estimator_.callbacks_ if isinstance(c, EMACallback)]
        assert len(found) == 1 and found[0].alpha == (0.999 if given is EMACallback else 0.5)


def test_alpha_is_searched_like_any_parameter():
    learner = ActiveLearner(_net(classes=range(3)), LHD(), random_state=0)
    search = GridSearchCV(learner, {"query_strategy__alpha": [0.5, 0.99]}, cv=2).fit(X, Y)
    chosen = search.best_params_["query_strategy__alpha"]
    assert find_average(search.best_estimator_.estimator_).alpha == chosen
    spent = BudgetedActiveLearner(learner, n_initial=20, n_instances=10, budget=40, random_state=0)
    search = GridSearchCV(spent, {"learner__query_strategy__alpha": [0.0, 0.95]}, cv=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LHD finds no difference")
        search.fit(X, Y)
    assert search.cv_results_["mean_test_score"].shape == (2,)


def test_two_classes_and_plain_skorch_nets():
    two = LHD(_net(), alpha=0.9, random_state=0).fit(X[:100], Y[:100])
    assert two.transform(X).any()

    class Plain(OneHidden):
        def __init__(self):
            super().__init__(4, 3)

    net = skorch.NeuralNetClassifier(
        Plain, criterion=nn.CrossEntropyLoss, max_epochs=3, train_split=None, verbose=0
    )
    learner = ActiveLearner(net, LHD(alpha=0.9), random_state=0).fit(X, Y)
    assert len(np.unique(learner.query(X, 20))) == 20

    class One(OneHidden):
        def __init__(self):
            super().__init__(4, 1)

        def forward(self, x):
            return super().forward(x)[:, 0]

    net = skorch.NeuralNetBinaryClassifier(One, max_epochs=3, train_split=None, verbose=0)
    learner = ActiveLearner(net, LHD(alpha=0.9), random_state=0)
    learner.fit(X[:100], Y[:100].astype(np.float32))
    assert len(np.unique(learner.query(X, 20))) == 20


def test_weights_come_back_also_after_an_error():
    net = _net(ema=EMACallback(0.9)).fit(X, Y)
    before = {k: v.clone() for k, v in net.module_.state_dict().items()}
    view, (main, _) = NetView(net), find_average(net).snapshot_
    with pytest.raises(RuntimeError, match="on purpose"), view.replaced(main):
        assert torch.equal(net.module_.head.weight, main["head.weight"])
        raise RuntimeError("on purpose")
    assert all(torch.equal(v, before[k]) for k, v in net.module_.state_dict().items())
    with pytest.raises(ValueError, match="OneHidden has no tensor 'tail' of shape"):
        with view.replaced({"tail": torch.zeros(3)}):
            pass
    with pytest.raises(ValueError, match="has no tensor 'head.bias' of shape"):
        with view.replaced({"head.bias": torch.zeros(7)}):
            pass


def test_a_net_trained_without_an_average_is_told_what_to_add():
    net = make_pipeline(StandardScaler(), _net()).fit(X, Y)
    with pytest.raises(ValueError, match=r"LHD compares.*Pass callbacks=\[EMACallback\(\)\]"):
        LHD(FrozenEstimator(net)).fit(X, Y).transform(X)
    learner = ActiveLearner(FrozenEstimator(net), LHD()).fit(X, Y)
    with pytest.raises(ValueError, match="trained without one"):
        learner.query(X, 3)
    assert net[-1].callbacks is None


def test_what_cannot_be_served_is_refused():
    with pytest.raises(ValueError, match="LHD serves classification. Got NeuralNetRegressor"):
        ActiveLearner(NeuralNetRegressor(), LHD()).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="LHD serves classification. Got Ridge"):
        LHD(Ridge()).fit(X, Y).transform(X)
    with pytest.raises(TypeError, match="LHD needs a fitted torch net but found LogisticReg"):
        LHD(LogisticRegression()).fit(X, Y).transform(X)
    with pytest.raises(ValueError, match="switches all of them off"):
        LHD(NeuralNetClassifier(callbacks="disable")).fit(X, Y).transform(X)
    with pytest.raises(ValueError, match="The 'alpha' parameter of LHD"):
        LHD(_net(), alpha=2).fit(X, Y).transform(X)
    with pytest.raises(ValueError, match="LHD.estimator is None"):
        LHD().fit(X, Y).transform(X)


def test_other_strategies_read_the_net_as_it_is():
    net = _net(ema=EMACallback(0.9, snapshot="end")).fit(X, Y)
    plain = _net().fit(X, Y)
    Z = BADGE(FrozenEstimator(net)).fit(X).transform(X)
    assert_array_equal(Z, BADGE(FrozenEstimator(plain)).fit(X).transform(X))


@pytest.mark.gpu
def test_a_net_on_an_accelerator_agrees():
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    net = _net(Normed, EMACallback(0.9), device="cuda").fit(X, Y)
    expected = _around(net).transform(X)
    assert find_average(net).averaged_.head.weight.device.type == "cuda"
    assert_allclose(_around(net, device="cpu").transform(X), expected, rtol=1e-3, atol=1e-5)
    again = pickle.loads(pickle.dumps(net))
    assert find_average(again).averaged_.head.weight.device.type == "cpu"
    assert_allclose(_around(again).transform(X), expected, rtol=1e-3, atol=1e-5)
    again.partial_fit(X, Y)
    assert find_average(again).n_updates_ == 60
