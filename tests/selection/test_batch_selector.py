"""The contract every selector keeps, on inputs that hypothesis finds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone

from skal import selection
from skal.selection import (
    KDPP,
    LCMD,
    AnnealedClusters,
    BallCover,
    BatchSelector,
    ClusterRoundRobin,
    GumbelTopK,
    KCenterGreedy,
    KernelHerding,
    KMeansCandidates,
    KMeansPlusPlus,
    MaxDet,
    TopK,
    TypicalClusters,
)
from skal.testing._selector_checks import check_batch_selector
from skal.utils._rows import Rows

SELECTORS = [
    TopK(),
    KCenterGreedy(),
    KCenterGreedy(init="origin"),
    KCenterGreedy(init="random", metric="cosine"),
    KMeansPlusPlus(),
    KMeansPlusPlus(init="random", tol=1e-6),
    LCMD(),
    MaxDet(),
    MaxDet(sigma=0.5, relative=False),
    KDPP(method="exact"),
    KDPP(method="mcmc"),
    KDPP(method="greedy"),
    TypicalClusters(),
    AnnealedClusters(),
    AnnealedClusters(linkage="average", n_clusters=3, beta=np.inf, max_candidates=8),
    GumbelTopK(kind="softrank"),
    KernelHerding(),
    KernelHerding(bandwidth="labeled", center=True, n_reference=5),
    BallCover(delta=0.5),
    KMeansCandidates(),
    ClusterRoundRobin(cluster_size=3.0),
    TypicalClusters(n_neighbors=2, min_cluster_size=1, metric="cosine"),
]
pytestmark = pytest.mark.filterwarnings("ignore:KDPP. the rows of Z have rank:UserWarning")
selectors = pytest.mark.parametrize("selector", SELECTORS, ids=repr)

# Small integers for ties and duplicates; the extremes of float for everything else.
numbers = st.one_of(st.integers(-2, 2).map(float), st.floats(-1e100, 1e100))


@st.composite
def pools(draw):
    """(Z, Z_labeled or None, n_instances), dense or factored."""
    n, n_labeled = draw(st.integers(1, 12)), draw(st.integers(0, 3))
    width = draw(st.integers(1, 3))
    Z = draw(arrays(np.float64, (n + n_labeled, width), elements=numbers))
    if draw(st.booleans()):
        few = st.integers(-2, 2).map(float)
        factors = draw(arrays(np.float64, (n + n_labeled, 2), elements=few))
        pool, labeled = Rows(Z[:n], factors[:n]), Rows(Z[n:], factors[n:])
    else:
        pool, labeled = Z[:n], Z[n:]
    return pool, labeled if n_labeled else None, draw(st.integers(1, n))


@selectors
@settings(max_examples=60, deadline=None)
@given(pool=pools(), seed=st.integers(0, 2**31 - 1))
def test_distinct_positions_in_range(selector, pool, seed):
    Z, Z_labeled, n_instances = pool
    selector = clone(selector).set_params(random_state=seed)
    scores = np.zeros(len(Z))
    picks = selector.select(Z, n_instances, Z_labeled=Z_labeled, scores=scores)
    assert picks.dtype == np.int64 and picks.shape == (n_instances,)
    assert len(set(picks.tolist())) == n_instances
    assert 0 <= picks.min() and picks.max() < len(Z)
    whole = selector.select(Z, len(Z), Z_labeled=Z_labeled, scores=scores)
    assert sorted(whole) == list(range(len(Z)))
    if selector._prefix_stable:
        assert whole[:n_instances].tolist() == picks.tolist()


@selectors
@settings(max_examples=30, deadline=None)
@given(
    distinct=st.integers(1, 5),
    copies=st.integers(1, 6),
    seed=st.integers(0, 10**6),
)
def test_one_of_each_group_of_equal_rows_first(selector, distinct, copies, seed):
    if isinstance(selector, TopK) or selector.get_params().get("tol"):
        pytest.skip("looks at scores, or at more than equality")
    if isinstance(selector, KMeansCandidates) or selector.get_params().get("n_reference"):
        pytest.skip("asked for all rows, it draws; a sample of the pool does not see every group")
    if isinstance(selector, AnnealedClusters):
        pytest.skip("draws rows near centroids, and equal rows are as likely as one another")
    if isinstance(selector, KDPP):
        distinct = min(distinct, 4)  # no volume beyond the rank
    if isinstance(selector, MaxDet):
        pytest.skip("with noise, a second look at a long row may tell more than a short one")
    rng = np.random.RandomState(seed)
    rows = rng.standard_normal((distinct, 4))
    group = rng.permutation(np.repeat(np.arange(distinct), copies))
    picks = clone(selector).set_params(random_state=seed).select(rows[group], len(group))
    assert sorted(group[picks[:distinct]]) == list(range(distinct))


@selectors
def test_public_checks_pass(selector):
    check_batch_selector(selector)


def test_every_public_selector_is_tested():
    public = {getattr(selection, name) for name in selection.__all__} - {BatchSelector, Rows}
    assert {type(selector) for selector in SELECTORS} == public


@selectors
def test_global_generators_are_used_only_without_a_seed(selector):
    Z = np.random.RandomState(0).standard_normal((30, 1))
    np.random.seed(5)
    first = selector.select(np.zeros((30, 1)), 10)
    np.random.seed(5)
    np.testing.assert_array_equal(selector.select(np.zeros((30, 1)), 10), first)
    generator = np.random.RandomState(3)
    seeded = clone(selector).set_params(random_state=generator)
    assert seeded.select(Z, 5).shape == (5,)


def test_random_state_instance_moves_on():
    selector = TopK(random_state=np.random.RandomState(0))
    Z = np.zeros((50, 1))
    assert not np.array_equal(selector.select(Z, 20), selector.select(Z, 20))


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("n_instances", [0, -3, 21])
def test_n_instances_out_of_range(n_instances):
    message = (
        rf"n_instances must be an int in \[1, 20\], the number of rows of Z. Got {n_instances} "
    )
    with pytest.raises(ValueError, match=message):
        TopK().select(np.zeros((20, 1)), n_instances)


@pytest.mark.parametrize("n_instances", [2.0, "2", None, True])
def test_n_instances_of_another_type(n_instances):
    with pytest.raises(TypeError, match=r"n_instances must be an int in \[1, 20\]"):
        TopK().select(np.zeros((20, 1)), n_instances)


def test_numpy_integers_are_integers():
    assert len(TopK().select(np.zeros((20, 1)), np.int32(3))) == 3


def test_empty_pool():
    with pytest.raises(ValueError, match="Z has no rows"):
        KCenterGreedy().select(np.zeros((0, 3)), 1)


def test_one_dimensional_pool():
    with pytest.raises(ValueError, match=r"Z must be 2-D.*Got shape \(5,\)"):
        TopK().select(np.zeros(5), 1)


@selectors
def test_rows_that_are_not_finite_are_named(selector):
    Z = np.zeros((9, 2))
    Z[[2, 5]] = np.nan
    with pytest.raises(ValueError, match=r"Z must be finite. 2 of 9 rows .*\[2, 5\]"):
        selector.select(Z, 1, scores=np.zeros(9))
    with pytest.raises(ValueError, match=r"Z_labeled must be finite. 2 of 9 rows"):
        selector.select(np.zeros((4, 2)), 1, Z_labeled=Z, scores=np.zeros(4))


def test_labelled_rows_of_other_columns():
    with pytest.raises(ValueError, match="Z_labeled must have the columns of Z, 2. Got 3 instead"):
        KCenterGreedy().select(np.zeros((4, 2)), 1, Z_labeled=np.zeros((4, 3)))
    pool, labeled = Rows(np.ones((4, 6)), np.ones((4, 2))), Rows(np.ones((4, 4)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="columns of Z, 2 x 6. Got 3 x 4 instead"):
        KCenterGreedy().select(pool, 1, Z_labeled=labeled)
    with pytest.raises(ValueError, match="must both be dense or both be factored. Got factored"):
        KCenterGreedy().select(pool, 1, Z_labeled=np.ones((4, 12)))


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        (np.zeros(3), ValueError, r"one value per row of Z, shape \(4,\). Got shape \(3,\)"),
        (np.zeros((4, 1)), ValueError, r"Got shape \(4, 1\)"),
        ([0, np.nan, 0, np.inf], ValueError, r"2 of 4 rows hold NaN or infinity \(first: \[1, 3\]"),
        (list("abcd"), TypeError, "scores must be real numbers"),
    ],
)
def test_bad_scores(scores, error, message):
    with pytest.raises(error, match=message):
        TopK().select(np.zeros((4, 1)), 1, scores=scores)


class _Broken(BatchSelector):
    """Returns what it is told to."""

    def __init__(self, answer=None, *, random_state=None):
        super().__init__(random_state=random_state)
        self.answer = answer

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        return self.answer


@pytest.mark.parametrize("answer", [[0], [0, 0], [0, 9], [-1, 0], [0.0, 1.0], None])
def test_what_a_broken_selector_returns_is_refused(answer):
    with pytest.raises(RuntimeError, match="_Broken._select must return 2 distinct integers"):
        _Broken(answer).select(np.zeros((5, 1)), 2)


def test_abstract_selector():
    with pytest.raises(NotImplementedError, match="BatchSelector must define _select"):
        BatchSelector().select(np.zeros((5, 1)), 2)


# ---------------------------------------------------------------- the public checks can fail


class _Base(BatchSelector):
    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        return rng.permutation(len(rows))[:n_instances]


class _Good(_Base):
    _prefix_stable = True


class _DrawsGlobally(_Base):
    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        np.random.random_sample()
        return super()._select(rows, n_instances, rows_labeled, scores, rng)


class _DrawsTorchGlobally(_Base):
    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        torch.rand(1)
        return super()._select(rows, n_instances, rows_labeled, scores, rng)


class _NoPrefix(_Base):
    _prefix_stable = True

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        return np.arange(len(rows))[-n_instances:]


class _Remembers(_Base):
    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        self.last_ = n_instances
        return super()._select(rows, n_instances, rows_labeled, scores, rng)


class _Unseeded(_Base):
    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        return np.random.default_rng().permutation(len(rows))[:n_instances]


class _Twice(_Base):
    def select(self, Z, n_instances, *, Z_labeled=None, scores=None, return_scores=False):
        super().select(Z, n_instances, Z_labeled=Z_labeled, scores=scores)
        return np.zeros(n_instances, dtype=np.int64)


class _AnswersAll(_Base):
    def select(self, Z, n_instances, **options):
        return super().select(Z, max(1, min(n_instances, len(Z))), **options)


class _Int32(_Base):
    def select(self, Z, n_instances, **options):
        return super().select(Z, n_instances, **options).astype(np.int32)


class _Writes(_Base):
    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        if isinstance(rows.parts()[0], np.ndarray) and rows.parts()[0].flags.writeable:
            rows.parts()[0][:] = 0
        return np.arange(n_instances)


def test_good_selector_passes():
    check_batch_selector(_Good())


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (_DrawsGlobally(), "NumPy's global generator"),
        (_DrawsTorchGlobally(), "torch's global generator"),
        (_NoPrefix(), "is the start of a batch"),
        (_Remembers(), "has parameters and no fit"),
        (_Unseeded(), "must repeat itself"),
        (_Twice(), "returned a position twice"),
        (_AnswersAll(), "must raise ValueError when asked for 0"),
        (_Int32(), "must return int64 positions"),
        (_Writes(), "wrote to its input"),
    ],
    ids=lambda value: type(value).__name__.lstrip("_") if isinstance(value, _Base) else "",
)
def test_broken_selectors_are_caught(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_batch_selector(broken)
