"""DeAn: importance, uncertainty and temperature by their formulas, on a net of known weights."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torch import nn

from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor
from skal.selection import AnnealedClusters, TopK
from skal.strategies import DeAn
from skal.views import NetView
from skal.views._dropout import dropout_log_probabilities

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(0)).astype(np.float32)
NET = NeuralNetClassifier(
    module__hidden=(16,), module__dropout=0.4, max_epochs=10, lr=0.01, random_state=0
).fit(X[::3], Y[::3])


def dean(net=NET, **parameters):
    parameters = {"n_passes": 20, "random_state": 0, **parameters}
    return DeAn(FrozenEstimator(net), **parameters).fit(X[::3], Y[::3])


def passes(n_passes, seed, rows=X, net=NET):
    """log_P (T, n, K), joined."""
    parts = list(dropout_log_probabilities(NetView(net), rows, n_passes, seed))
    return torch.cat([log_P for _, log_P in parts], dim=1)


# ---------------------------------------------------------------- stochastic passes


class _Layer(nn.Module):
    """One layer of dropout, given four channels of three numbers."""

    def __init__(self, n_features, n_outputs, dropout):
        super().__init__()
        self.first, self.last = nn.Linear(n_features, 12), nn.Linear(12, n_outputs)
        self.dropout = dropout(0.3)

    def forward(self, X):
        return self.last(self.dropout(self.first(X).unflatten(1, (4, 3))).flatten(1))


@pytest.mark.parametrize("kind", [None, nn.Dropout1d, nn.AlphaDropout])
def test_passes_have_the_law_of_torchs_dropout(kind):
    """Mean and variance of the probabilities against the module in training mode."""
    net = NET
    if kind is not None:
        net = NeuralNetClassifier(_Layer, module__dropout=kind, max_epochs=2, random_state=0)
        net.fit(X, Y)
    ours = passes(3000, 7, X[:5], net).exp().numpy()
    net.module_.train()
    try:
        with torch.no_grad():
            inputs = torch.from_numpy(X[:5])
            theirs = torch.stack([net.module_(inputs).softmax(1) for _ in range(3000)]).numpy()
    finally:
        net.module_.eval()
    error = np.sqrt((ours.var(0) + theirs.var(0)) / 3000)
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 5 * error + 1e-9).all()
    np.testing.assert_allclose(ours.var(0), theirs.var(0), rtol=0.2, atol=1e-5)


def test_a_pass_drops_the_same_units_in_all_rows():
    whole = passes(4, 3)
    view = NetView(NET, batch_size=11)
    parts = [log_P for _, log_P in dropout_log_probabilities(view, X, 4, 3)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-6)
    assert len(parts) == 14
    order = np.random.RandomState(0).permutation(len(X))
    torch.testing.assert_close(passes(4, 3, X[order]), whole[:, order], rtol=1e-5, atol=1e-6)
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(passes(4, 4), whole)


def test_net_and_generators_are_left_alone():
    before = {name: value.clone() for name, value in NET.module_.state_dict().items()}
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    dean().query(X, 5)
    assert all(torch.equal(value, before[name]) for name, value in NET.module_.state_dict().items())
    assert np.array_equal(numpy_state, np.random.get_state()[1])
    assert torch.equal(torch_state, torch.random.get_rng_state())
    assert not any(layer._forward_hooks for layer in NET.module_.modules())


# ---------------------------------------------------------------- importance, uncertainty


def test_transform_and_importance_by_their_formulas():
    strategy = dean()
    P = passes(20, 0)  # shape only
    votes = torch.cat(list(strategy._passes(X)), dim=1).exp().numpy()
    assert votes.shape == P.shape
    np.testing.assert_allclose(strategy.transform(X), votes.mean(0), rtol=1e-5)
    rho = entropy(votes.mean(0), base=2, axis=1) - entropy(votes, base=2, axis=2).mean(0)
    importance = strategy.query(X, 3, return_scores=True)[1]
    np.testing.assert_allclose(importance, rho, atol=1e-12)
    assert (importance >= 0).all() and (importance <= np.log2(3)).all() and importance.max() > 0.01


@pytest.mark.parametrize("validation", ["labeled", X[1::3]])
def test_uncertainty_is_the_mean_variation_ratio(validation):
    strategy = dean(validation=validation)
    rows = X[::3] if isinstance(validation, str) else validation
    votes = torch.cat(list(strategy._passes(rows)), dim=1).argmax(2).numpy()
    ratios = [1 - np.bincount(votes[:, i]).max() / 20 for i in range(len(rows))]
    assert strategy.sigma_ == pytest.approx(np.mean(ratios))
    assert strategy.beta_ == pytest.approx(0.25 * (np.exp(1 / strategy.sigma_) - 1))


def test_uncertainty_of_the_pool_belongs_to_the_query():
    strategy = dean(validation="pool")
    assert strategy.sigma_ is None and strategy.beta_ is None
    sigma = strategy._uncertainty(X)
    assert strategy._batch_selector(X).beta == pytest.approx(0.25 * np.expm1(1 / sigma))
    np.testing.assert_array_equal(strategy.query(X, 5), dean(validation=X).query(X, 5))


class _Votes(DeAn):
    """Passes that vote as they are told to."""

    def _passes(self, X):
        yield self.votes


def _voting(P):
    strategy = _Votes()
    strategy.votes = torch.as_tensor(P, dtype=torch.float64).log()
    return strategy


def test_passes_that_agree_leave_neither_importance_nor_uncertainty():
    P = np.random.default_rng(0).dirichlet(np.ones(4), 30)
    strategy = _voting(np.repeat(P[None], 10, axis=0))
    mean, importance = strategy._mean_and_importance(None)
    np.testing.assert_allclose(mean, P)
    assert float(importance.min()) >= 0 and float(importance.max()) < 1e-12
    assert strategy._uncertainty(None) == 0
    sure = _voting(np.repeat(np.eye(4)[None], 10, axis=0))._mean_and_importance(None)
    assert sure[1].tolist() == [0.0] * 4


def test_random_votes_are_as_uncertain_as_can_be():
    P = np.random.default_rng(0).dirichlet(np.ones(4), (4000, 20))
    assert _voting(P)._uncertainty(None) == pytest.approx(0.75, abs=0.03)
    one_hot = np.eye(4)[np.random.default_rng(0).integers(0, 4, (4000, 20))]
    importance = _voting(one_hot)._mean_and_importance(None)[1]
    np.testing.assert_allclose(importance, 2.0, atol=0.01)


def test_importance_does_not_depend_on_the_order_of_passes():
    P = np.random.default_rng(0).dirichlet(np.ones(4), (9, 20))
    first, second = (_voting(p)._mean_and_importance(None)[1] for p in (P, P[::-1].copy()))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize(
    ("beta", "sigma", "expected"),
    [
        ("exp", 0.9, 0.51),
        ("exp", 0.5, 1.60),
        ("exp", 0.25, 13.4),
        ("exp", 0.1, 5506),
        ("exp", 1.0, 0.4296),
        ("pow4", 0.9, 0.92),
        ("pow4", 0.5, 3.75),
        ("pow4", 0.2, 256),
        ("log", 0.5, 0.1733),
        ("log", 1e-9, 5.181),
        ("exp0", 1.0, 0.0),
        ("exp0", 0.5, 1.1677),
        ("exp", 0.0, np.inf),
        ("log", 0.0, np.inf),
        ("exp", 1e-3, np.inf),
        ("pow4", 1e-3, np.inf),
        (lambda sigma: 7 * sigma, 0.5, 3.5),
    ],
)
def test_inverse_temperature(beta, sigma, expected):
    assert DeAn(beta=beta)._inverse_temperature(sigma) == pytest.approx(expected, rel=5e-3)


def test_scale():
    assert DeAn(scale=1.0)._inverse_temperature(0.5) == pytest.approx(np.expm1(2))


# ---------------------------------------------------------------- queries


def test_query_is_the_selectors():
    strategy = dean(beta=4.0, n_clusters=7, linkage="average")
    selector = strategy._batch_selector(X)
    parameters = {"n_clusters": 7, "linkage": "average", "beta": 4.0, "metric": "jensenshannon"}
    assert {name: getattr(selector, name) for name in parameters} == parameters
    assert strategy.sigma_ is None and strategy.beta_ == 4.0
    rows = strategy.query(X, 10)
    assert len(set(rows.tolist())) == 10
    np.testing.assert_array_equal(rows, strategy.query(X, 10))


def test_a_selector_of_ones_own():
    strategy = dean(selector=TopK())
    rows, importance = strategy.query(X, 4, return_scores=True)
    np.testing.assert_array_equal(rows, np.argsort(-importance)[:4])
    assert strategy.beta_ is None


def test_in_a_learner():
    learner = ActiveLearner(NET, DeAn(n_passes=5), random_state=0).fit(X[::10], Y[::10])
    rows = learner.query(X, 4)
    learner.teach(X[rows], Y[rows])
    assert learner.n_labeled_ == 19 and isinstance(dean()._batch_selector(X), AnnealedClusters)


def test_members_of_an_ensemble_stand_for_passes():
    forest = RandomForestClassifier(n_estimators=12, max_depth=2, random_state=0).fit(X, Y)
    strategy = DeAn(FrozenEstimator(forest), random_state=0).fit(X[::3])
    P = np.stack([tree.predict_proba(X) for tree in forest.estimators_])
    np.testing.assert_allclose(strategy.transform(X), P.mean(0), rtol=1e-5)
    rho = entropy(P.mean(0), base=2, axis=1) - entropy(P, base=2, axis=2).mean(0)
    importance = strategy.query(X, 3, return_scores=True)[1]
    np.testing.assert_allclose(importance, np.maximum(rho, 0), atol=1e-12)


# ---------------------------------------------------------------- errors


def test_net_without_dropout():
    net = NeuralNetClassifier(max_epochs=1).fit(X, Y)
    with pytest.raises(ValueError, match=r"DeAn needs stochastic passes.*MLP.*module__dropout"):
        dean(net)


class _Unused(nn.Module):
    """Has a layer of dropout that does not run."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.layer, self.dropout = nn.Linear(n_features, n_outputs), nn.Dropout(0.5)

    def forward(self, X):
        return self.layer(X)


def test_dropout_that_does_not_run():
    net = NeuralNetClassifier(_Unused, max_epochs=1).fit(X, Y)
    with pytest.raises(ValueError, match="no dropout layer with p > 0 runs in _Unused"):
        dean(net)


def test_other_estimators():
    with pytest.raises(ValueError, match="DeAn needs .*ensemble.* found LogisticRegression"):
        DeAn(LogisticRegression()).fit(X, Y)
    with pytest.raises(ValueError, match="DeAn serves classification"):
        DeAn(NeuralNetRegressor(max_epochs=1)).fit(X, Y.astype(float))


def test_bad_validation_rows():
    with pytest.raises(ValueError, match="'validation' of DeAn must hold at least one row"):
        dean(validation=X[:0])
    with pytest.raises(ValueError, match="X has 3 features, but DeAn is expecting 4 features"):
        dean(validation=X[:, :3])
    for validation in ("unlabeled", None):
        with pytest.raises(ValueError, match="The 'validation' parameter of DeAn must be"):
            dean(validation=validation)


@pytest.mark.parametrize("answer", [-1.0, np.nan, "hot"])
def test_callable_that_answers_no_temperature(answer):
    with pytest.raises(ValueError, match=r"'beta' of DeAn must return a number in \[0, inf\]"):
        dean(beta=lambda sigma: answer)
