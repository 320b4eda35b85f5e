"""Greedy Fisher selection against explicit matrices, traces and determinant-free brute force."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skal.selection._engines import fisher as module
from skal.selection._engines.fisher import fisher_factors, fisher_greedy


def _softmax(p):
    """Fisher information of a softmax in its logits."""
    return np.diag(p) - np.outer(p, p)


def _problem(n, m, d, C, seed=0):
    """(pool, labelled) as the selection sees them, and the explicit information of every row."""
    rng = np.random.RandomState(seed)
    H = rng.standard_normal((n + m, d))
    if C is None:
        S, explicit = np.ones((n + m, 1, 1)), np.einsum("ni,nj->nij", H, H)
    else:
        P = rng.dirichlet(np.full(C, 0.5), size=n + m)
        S = fisher_factors(torch.tensor(P)).numpy()
        explicit = [np.kron(_softmax(p), np.outer(h, h)) for p, h in zip(P, H, strict=True)]
        explicit = np.array(explicit)
    H, S = torch.tensor(H), torch.tensor(S)
    return (H[:n], S[:n]), (H[n:], S[n:]), explicit


def _slow(info, n, b, lam, oversample):
    """BAIT with inverses of explicit matrices: one trace per candidate."""
    m = len(info) - n
    F = info.mean(0)
    M = lam * np.eye(len(F)) + info[n:].sum(0) / (m + b)
    step = info[:n] * b / (m + b)

    def trace(M):
        return np.trace(np.linalg.solve(M, F))

    first = np.array([trace(M) - trace(M + s) for s in step])
    chosen, traces = [], [trace(M)]
    for _ in range(min(n, int(oversample * b))):
        after = [np.inf if i in chosen else trace(M + step[i]) for i in range(n)]
        chosen.append(int(np.argmin(after)))
        M = M + step[chosen[-1]]
        traces.append(trace(M))
    while len(chosen) > b:
        after = [trace(M - step[i]) for i in chosen]
        M = M - step[chosen.pop(int(np.argmin(after)))]
    return chosen, first, traces


def _fast(pool, labeled, b, lam=1.0, oversample=2.0):
    rng = np.random.RandomState(0)
    return fisher_greedy(pool, labeled, b, rng, regularization=lam, oversample=oversample)


@pytest.mark.parametrize("C", [2, 3, 5])
def test_factors_are_a_square_root_of_the_information_of_a_softmax(C):
    P = np.random.RandomState(0).dirichlet(np.full(C, 0.3), size=50)
    P[0], P[1] = 1 / C, np.eye(C)[C - 1]
    S = fisher_factors(torch.tensor(P)).numpy()
    basis = np.linalg.svd(np.eye(C) - 1 / C)[0][:, : C - 1]
    for p, s in zip(P, S, strict=True):
        # Equal up to a rotation of the basis: same spectrum, and same product with other rows.
        expected = np.linalg.eigvalsh(basis.T @ _softmax(p) @ basis)
        assert_allclose(np.linalg.eigvalsh(s @ s.T), expected, atol=1e-14)
        product = np.trace(_softmax(p) @ _softmax(P[2]))
        assert_allclose(np.trace(s @ s.T @ S[2] @ S[2].T), product, atol=1e-14)


def test_factors_of_saturated_rows_keep_their_digits():
    tiny = 1e-30
    S = fisher_factors(torch.tensor([[1.0, tiny], [tiny, 1.0]], dtype=torch.float64))
    assert_allclose((S**2).ravel(), 2 * tiny, rtol=1e-12)


@pytest.mark.parametrize("C", [None, 2, 3, 4])
@pytest.mark.parametrize("m", [0, 6])
@pytest.mark.parametrize(("b", "lam", "oversample"), [(1, 1.0, 1.0), (4, 0.01, 2.0), (5, 1.0, 1.5)])
def test_picks_and_gains_are_those_of_explicit_traces(C, m, b, lam, oversample):
    pool, labeled, explicit = _problem(25, m, 3, C)
    expected, first, traces = _slow(explicit, 25, b, lam, oversample)
    picks, gains = _fast(pool, labeled, b, lam, oversample)
    assert picks.tolist() == expected
    assert_allclose(gains, first, rtol=1e-8, atol=1e-10 * traces[0])
    assert (np.diff(traces) < 0).all()
    if b == 1 and oversample == 1:
        assert picks[0] == first.argmax()


def test_all_of_the_pool_in_the_order_of_the_forward_steps():
    pool, labeled, explicit = _problem(9, 2, 2, 3)
    assert _fast(pool, labeled, 9)[0].tolist() == _slow(explicit, 9, 9, 1.0, 1.0)[0]


def test_chunks_and_fresh_inverses_change_nothing(monkeypatch):
    pool, labeled, explicit = _problem(70, 5, 3, 4)
    expected = _fast(pool, labeled, 20)[0]
    monkeypatch.setattr(module, "_CHUNK_NUMBERS", 1)
    monkeypatch.setattr(module, "_REFRESH_EVERY", 7)
    assert _fast(pool, labeled, 20)[0].tolist() == expected.tolist()


def test_updates_do_not_drift():
    pool, labeled, _ = _problem(200, 5, 4, 3)
    start = torch.eye(8, dtype=torch.float64) * 1e-3
    design = module._Design(*pool, start, module._information(*pool))
    for i in range(60):
        design.add(i)
    for i in range(40):
        design.remove(i)
    inverse, A, B = design.inverse.clone(), design.A.clone(), design.B.clone()
    design._refresh()
    assert_allclose(inverse, design.inverse, rtol=1e-7, atol=1e-9)
    assert_allclose(A, design.A, rtol=1e-7, atol=1e-9)
    assert_allclose(B, design.B, rtol=1e-6, atol=1e-6 * float(design.B.max()))


def test_regression_on_one_feature_takes_the_longest_rows():
    H = torch.tensor(np.random.RandomState(0).standard_normal((30, 1)))
    pool = H, torch.ones((30, 1, 1), dtype=torch.float64)
    labeled = H[:3], pool[1][:3]
    longest = np.argsort(-H.abs().numpy().ravel())
    assert _fast(pool, labeled, 5, oversample=1.0)[0].tolist() == longest[:5].tolist()
    assert set(_fast(pool, labeled, 5)[0]) == set(longest[:5])


def test_without_information_all_rows_are_equally_likely():
    pool = torch.zeros((6, 2), dtype=torch.float64), torch.zeros((6, 2, 2), dtype=torch.float64)
    labeled = pool[0][:0], pool[1][:0]
    counts = np.zeros(6)
    for seed in range(200):
        rng = np.random.RandomState(seed)
        picks, gains = fisher_greedy(pool, labeled, 2, rng)
        counts[picks] += 1
    assert counts.min() > 30 and counts.max() < 110
    assert (gains == 0).all()


@pytest.mark.parametrize("C", [None, 2, 4])
def test_features_that_are_not_standardised(C):
    (H, S), (H_labeled, S_labeled), explicit = _problem(60, 2, 4, C)
    pool, labeled = (1e3 * H, S), (1e3 * H_labeled, S_labeled)
    for lam in (1.0, 1e-3):
        expected = _slow(1e6 * explicit, 60, 8, lam, 2.0)[0]
        assert _fast(pool, labeled, 8, lam)[0].tolist() == expected
    with pytest.raises(ValueError, match="=1e-09 is too small .*Standardise features"):
        _fast(pool, labeled, 8, 1e-9)
