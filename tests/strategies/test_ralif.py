"""RALIF: its numerics against dense matrices, autograd and actual retraining."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge

from skal.neural_network import NeuralNetClassifier
from skal.strategies import RALIF
from skal.strategies._ralif import aggregated
from skal.views import NetView
from skal.views._influence import fit_head
from skal.views._layer_curvature import (
    LastLayerCurvature,
    conjugate_gradients,
    directional_losses,
    lissa,
)
from skal.views._net_curvature import NetCurvature

X, Y = load_digits(return_X_y=True)
X = X / 16.0
L, POOL = np.arange(200), np.arange(200, 1200)


@pytest.fixture(scope="module")
def small():
    """H (m, d + 1), P (m, K), ridge, weights and the dense Hessian of the loss by autograd."""
    g = torch.Generator().manual_seed(0)
    H = torch.randn((30, 4), generator=g, dtype=torch.float64)
    H = torch.cat([H, torch.ones((30, 1))], dim=1).double()
    W = torch.randn((3, 5), generator=g, dtype=torch.float64)
    y = torch.arange(30) % 3
    ridge = torch.tensor([0.1, 0.1, 0.1, 0.1, 0.02]).double()

    def loss(w, y=y):
        w = w.reshape(3, 5)
        decay = 0.5 * (ridge * w * w).sum()
        return torch.nn.functional.cross_entropy(H @ w.T, y) + decay

    A = torch.func.hessian(loss)(W.ravel())
    other = torch.func.hessian(lambda w: loss(w, y.flip(0)))(W.ravel())
    assert_allclose(A, other, atol=1e-12)  # label-free
    return LastLayerCurvature(H, torch.softmax(H @ W.T, 1), ridge), A


def test_products_and_solutions_are_those_of_the_dense_hessian(small):
    curvature, A = small
    V = torch.linspace(-1, 2, 15).double().reshape(3, 5).sin()
    assert_allclose(curvature.dense(), A, atol=1e-12)
    assert_allclose(curvature.product(V).ravel(), A @ V.ravel(), atol=1e-12)
    exact = torch.linalg.solve(A, V.ravel())
    assert_allclose(curvature.solve(V).ravel(), exact, rtol=1e-9)
    for precondition in (None, curvature._preconditioner()):
        iterated = conjugate_gradients(curvature.product, V, precondition=precondition, tol=1e-12)
        assert_allclose(iterated.ravel(), exact, rtol=1e-5)


def test_an_unsolved_system_warns_with_its_residual(small):
    curvature, _ = small
    with pytest.warns(ConvergenceWarning, match="after 2 steps the relative residual is"):
        b = torch.arange(15.0).double().reshape(3, 5)
        conjugate_gradients(curvature.product, b, max_iter=2)


def test_fixed_point_of_lissa(small):
    curvature, A = small
    v = torch.linspace(-1, 1, 15).double().reshape(3, 5)
    fixed = 25 * torch.linalg.solve(A + 0.25 * torch.eye(15), v.ravel())
    far = lissa(curvature.product, v, depth=50).ravel()
    assert torch.linalg.vector_norm(far - fixed) > 0.1 * torch.linalg.vector_norm(fixed)
    assert_allclose(lissa(curvature.product, v, depth=5000).ravel(), fixed, rtol=1e-8)
    with pytest.raises(ValueError, match="LiSSA diverged"):
        lissa(lambda s: 1e3 * s, v, depth=500)


def test_changes_are_explicit_gradients_by_autograd():
    """The score of every class in closed form against one backward pass per row and class."""
    net = NeuralNetClassifier(module__hidden=(6,), max_epochs=10, random_state=0)
    net.fit(X[L], Y[L])
    strategy = RALIF(FrozenEstimator(net), mode="single", random_state=0).fit(X[L])
    pool = X[POOL[:40]]
    _, scores = strategy.query(pool, 1, return_scores=True)
    view = NetView(net)
    weight = view.head.weight.detach().double().requires_grad_()
    bias = view.head.bias.detach().double().requires_grad_()

    def gradient(h, k):
        log_p = torch.log_softmax(weight @ h + bias, 0)
        gw, gb = torch.autograd.grad(-log_p[k], [weight, bias])
        return torch.cat([gw, gb[:, None]], dim=1).ravel()

    H, H_L = view.features(pool).double(), view.features(X[L]).double()
    labels = (H @ weight.T + bias).argmax(1)
    G = torch.stack([gradient(h, k) for h, k in zip(H, labels, strict=True)])
    A = (1e-4 + 0.01) * torch.eye(weight.numel() + 10).double()
    for h in H_L:
        p = torch.softmax(weight @ h + bias, 0).detach()
        for k in range(10):
            g = gradient(h, k)
            A += p[k] * torch.outer(g, g) / len(H_L)
    s = torch.linalg.solve(A, G.mean(0))
    expected = (G @ s / len(H_L)).numpy()
    assert_allclose(scores, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_predicted_change_is_that_of_retraining():
    """100 rows added one at a time to a logistic regression that is fitted to the end."""
    H = torch.as_tensor(np.column_stack([X, np.ones(len(X))]))
    decay, m = (0.05, 0.05), 100
    y = Y % 3
    W = fit_head(H[:m], y[:m], 3, decay)
    P = torch.softmax(H @ W.T, 1)
    ridge = torch.full((65,), 0.05).double()
    pool, hard = H[POOL], P[POOL].argmax(1)

    def pool_loss(W):
        return float(torch.nn.functional.cross_entropy(pool @ W.T, hard))

    v = (P[POOL] - torch.nn.functional.one_hot(hard, 3)).T @ pool / len(pool)
    S = LastLayerCurvature(H[:m], P[:m], ridge).solve(v)
    D = directional_losses(P[POOL], pool @ S.T)
    rows = np.arange(100)
    predicted = -D[rows, torch.as_tensor(y[POOL[rows]])].numpy() / m
    actual = []
    for row in rows:
        both = np.append(np.arange(m), POOL[row])
        # The loss of the first m rows keeps its weight 1/m: the penalty shrinks accordingly.
        shrunk = tuple(d * m / (m + 1) for d in decay)
        actual.append(pool_loss(fit_head(H[both], y[both], 3, shrunk)) - pool_loss(W))
    assert np.corrcoef(predicted, actual)[0, 1] >= 0.95


def _random_table():
    rng = np.random.RandomState(0)
    P = torch.as_tensor(rng.dirichlet(np.full(5, 0.5), 50))
    change = directional_losses(P, torch.as_tensor(rng.standard_normal((50, 5))))
    return change, P


def test_identities_between_modes_and_aggregates():
    change, P = _random_table()
    loss = 0.7
    zero = aggregated(change, P, loss, "expectation", "code", 0.4)
    assert_array_equal(zero, np.zeros(50))
    assert_array_equal(aggregated(change, P, loss, "truncated", "conditional", 0.0), zero)
    single = change.gather(1, P.argmax(1, keepdim=True)).ravel()
    for aggregate in ("code", "paper", "conditional"):
        assert_allclose(aggregated(change, P, loss, "truncated", aggregate, 2.0), single)
    kept = P > 0.3
    assert_allclose((P * kept * change).sum(1), -(P * ~kept * change).sum(1), atol=1e-12)
    code = aggregated(change, P, loss, "truncated", "code", 0.3).numpy()
    paper = aggregated(change, P, loss, "truncated", "paper", 0.3).numpy()
    some = kept.any(1).numpy()
    for i in np.flatnonzero(some):
        total = sum(P[i, k] * (loss + change[i, k]) for k in range(5) if kept[i, k])
        assert_allclose([code[i], paper[i]], [total / int(kept[i].sum()), total])
    assert code[~some].min() > code[some].max() and not paper[~some].any()


def test_expectation_leaves_random_candidates():
    model = LogisticRegression(max_iter=500).fit(X[L], Y[L])
    batches = []
    for seed in range(4):
        strategy = RALIF(
            FrozenEstimator(model), mode="expectation", diversity="none", random_state=seed
        )
        rows, scores = strategy.fit(X[L]).query(X[POOL], 50, return_scores=True)
        assert not scores.any()
        batches.append(set(rows.tolist()))
    assert len(set.union(*batches)) > 150  # 185 expected of 4 random batches


def test_default_score_is_retained_probability():
    model = LogisticRegression(max_iter=1000).fit(X[L], Y[L])
    strategy = RALIF(FrozenEstimator(model), random_state=0).fit(X[L])
    _, scores = strategy.query(X[POOL], 1, return_scores=True)
    P = model.predict_proba(X[POOL])
    kept = P > 0.4
    some = kept.any(1)
    mean = (P * kept).sum(1)[some] / kept.sum(1)[some]
    assert spearmanr(-scores[some], mean).statistic > 0.99


@pytest.mark.parametrize("diversity", ["kmeans++", "mean_shift", "kmeans", "none"])
def test_batch_is_taken_from_the_candidates(diversity):
    model = LogisticRegression(max_iter=500).fit(X[L], Y[L])
    strategy = RALIF(FrozenEstimator(model), diversity=diversity, random_state=0).fit(X[L])
    rows, scores = strategy.query(X[POOL], 20, return_scores=True)
    best = np.argsort(-scores, kind="stable")
    assert len(set(rows.tolist())) == 20 and set(rows) <= set(best[:100])
    if diversity == "none":
        assert_array_equal(rows, best[:20])
    if diversity == "kmeans++":
        assert rows[0] == best[0]


def test_refitted_head_and_lissa_change_the_scores():
    net = NeuralNetClassifier(module__hidden=(6,), max_epochs=5, random_state=0).fit(X[L], Y[L])

    def scores(**params):
        strategy = RALIF(FrozenEstimator(net), mode="single", random_state=0, **params)
        return strategy.fit(X[L], Y[L]).query(X[POOL], 1, return_scores=True)[1]

    plain = scores()
    assert not np.allclose(plain, scores(refit_head=True))
    assert not np.allclose(plain, scores(solver="lissa"))
    with pytest.raises(ValueError, match="needs the labels"):
        RALIF(FrozenEstimator(net), refit_head=True).fit(X[L])


def test_what_cannot_work_is_refused():
    with pytest.raises(ValueError, match="every influence is 0.*Use BAIT or TypiClust"):
        RALIF(Ridge()).fit(X[L], Y[L])
    with pytest.raises(ValueError, match="needs damping or weight decay"):
        RALIF(LogisticRegression(max_iter=500), damping=0, weight_decay=0).fit(X[L], Y[L])


def test_degenerate_pools():
    model = LogisticRegression(max_iter=500).fit(X[L], Y[L])

    def query(pool, n_instances, **params):
        strategy = RALIF(FrozenEstimator(model), random_state=0, **params).fit(X[L], Y[L])
        return strategy.query(pool, n_instances)

    # More rows asked for than a tenth of the pool, up to all of it.
    pool = X[POOL][:40]
    assert len(set(query(pool, 20).tolist())) == 20
    assert_array_equal(np.sort(query(pool, 40)), np.arange(40))
    # Copies: one of each group as long as there are groups.
    copies = np.repeat(X[POOL][:10], 20, axis=0)
    assert len(set((query(copies, 10, candidate_fraction=1.0) // 20).tolist())) == 10
    # All rows equal: distinct positions, not those that come first.
    equal = query(np.repeat(pool[:1], 50, axis=0), 7)
    assert len(set(equal.tolist())) == 7 and set(equal) != set(range(7))
    # No class is that likely: the most likely one is used.
    single = query(X[POOL], 9, mode="single", diversity="none")
    for aggregate in ("code", "paper", "conditional"):
        assert_array_equal(
            query(X[POOL], 9, tau=2.0, aggregate=aggregate, diversity="none"), single
        )


# ---------------------------------------------------------------------------------- whole nets


@pytest.fixture(scope="module")
def whole():
    """A tiny net, its curvature over 40 rows, and its log-probabilities as a function."""
    net = NeuralNetClassifier(
        module__hidden=(4,), module__dropout=0.3, max_epochs=15, lr=0.01, random_state=0
    ).fit(X[:40, :6], Y[:40] % 3)
    curvature = NetCurvature(NetView(net), X[:40, :6], 0.05, "the test")
    module = copy.deepcopy(net.module_).double().eval()
    shapes = {name: p.shape for name, p in module.named_parameters()}

    def log_P(w, rows):
        parts = w.split([shape.numel() for shape in shapes.values()])
        weights = {n: part.view(s) for (n, s), part in zip(shapes.items(), parts, strict=True)}
        inputs = torch.as_tensor(X[rows, :6].astype(np.float32)).double()
        return torch.log_softmax(torch.func.functional_call(module, weights, (inputs,)), 1)

    w = torch.nn.utils.parameters_to_vector(module.parameters()).detach()
    return net, curvature, log_P, w


def _dense_gauss_newton(log_P, w, rows, ridge):
    J = torch.func.jacrev(lambda w: log_P(w, rows))(w)
    A = torch.einsum("nk,nka,nkb->ab", log_P(w, rows).exp(), J, J) / len(rows)
    return A + ridge * torch.eye(len(w), dtype=torch.float64)


def test_products_with_a_whole_net_are_those_of_the_dense_matrix(whole):
    _, curvature, log_P, w = whole
    A = _dense_gauss_newton(log_P, w, np.arange(40), 0.05)
    V = torch.linspace(0, 9, len(w)).double().sin()
    assert_allclose(curvature.product(V), A @ V, rtol=1e-9, atol=1e-12)
    assert_allclose(curvature.solve(V), torch.linalg.solve(A, V), rtol=1e-5, atol=1e-8)
    few = np.arange(50, 70)

    def pseudo_loss(w):
        values = log_P(w, few)
        return -values.gather(1, values.argmax(1, keepdim=True)).mean()

    assert_allclose(curvature.gradient(X[few, :6]), torch.func.grad(pseudo_loss)(w), atol=1e-10)


def test_influence_through_a_whole_net_is_that_of_explicit_gradients(whole):
    net, curvature, log_P, w = whole
    before = [p.clone() for p in net.module_.parameters()]
    pool = np.arange(50, 80)
    strategy = RALIF(
        FrozenEstimator(net), params="all", mode="single", damping=0.05 - 1e-4, diversity="none"
    ).fit(X[:40, :6], Y[:40] % 3)
    _, scores = strategy.query(X[pool, :6], 3, return_scores=True)
    A = _dense_gauss_newton(log_P, w, np.arange(40), 0.05)
    values = log_P(w, pool)
    predicted = values.argmax(1)
    gradients = -torch.func.jacrev(lambda w: log_P(w, pool))(w)[torch.arange(30), predicted]
    s = torch.linalg.solve(A, gradients.mean(0))
    expected = (gradients @ s) / 40
    assert_allclose(scores, expected, atol=1e-5 * float(expected.abs().max()))
    assert all(torch.equal(a, b) for a, b in zip(before, net.module_.parameters(), strict=True))
    last = RALIF(FrozenEstimator(net), mode="single", diversity="none").fit(X[:40, :6], Y[:40] % 3)
    assert not np.allclose(last.query(X[pool, :6], 3, return_scores=True)[1], scores, rtol=0.01)


def test_whole_nets_need_damping_and_keep_their_head(whole):
    net = whole[0]
    for settings, message in (({"damping": 0.0}, "'damping'"), ({"refit_head": True}, "alone")):
        strategy = RALIF(FrozenEstimator(net), params="all", **settings)
        with pytest.raises(ValueError, match=message):
            strategy.fit(X[:40, :6], Y[:40] % 3)
