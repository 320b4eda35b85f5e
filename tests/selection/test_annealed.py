"""Deterministic annealing around centroids: the law of the draws, against its formula."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist, pdist
from scipy.stats import chisquare
from sklearn.metrics import adjusted_rand_score

from skal.selection import AnnealedClusters
from skal.selection._annealed import _draw_many, upper_medians
from skal.selection._engines.linkage import Euclidean, JensenShannon

RNG = np.random.default_rng(0)
P = RNG.dirichlet([0.5, 0.5, 0.5], 12)
IMPORTANCE = RNG.random(12) + 0.1
N_DRAWS = 600


def draws(n_instances=1, importance=IMPORTANCE, Z=P, metric="jensenshannon", **parameters):
    """Many batches: ndarray (N_DRAWS, n_instances)."""
    rng = np.random.RandomState(0)
    selector = AnnealedClusters(metric=metric, random_state=rng, **parameters)
    return np.array([selector.select(Z, n_instances, scores=importance) for _ in range(N_DRAWS)])


def first_draw_law(n_clusters, beta):
    """Probability of every row to be drawn first, by the formula, on SciPy's distances."""
    D = cdist(P, P, "jensenshannon") / np.sqrt(np.log(2))
    labels = fcluster(linkage(pdist(P, "jensenshannon"), "single"), n_clusters, "maxclust")
    law = np.zeros(len(P))
    centroids = []
    for k in np.unique(labels):
        inside = np.flatnonzero(labels == k)
        centroids.append(sorted(inside, key=lambda i: IMPORTANCE[i])[len(inside) // 2])
    total = sum(IMPORTANCE[c] for c in centroids)
    for c in centroids:
        gibbs = np.exp(-beta * D[c])
        law += IMPORTANCE[c] / total * gibbs / gibbs.sum()
    return law, centroids


@pytest.mark.parametrize(("n_clusters", "beta"), [(1, 3.0), (4, 3.0), (4, 40.0), (50, 3.0)])
def test_first_draw_follows_the_marginal_formula(n_clusters, beta):
    law, _ = first_draw_law(min(n_clusters, 12), beta)
    counts = np.bincount(draws(n_clusters=n_clusters, beta=beta)[:, 0], minlength=12)
    likely = law * N_DRAWS > 3
    observed = np.append(counts[likely], counts[~likely].sum())
    expected = np.append(law[likely], law[~likely].sum()) * N_DRAWS
    keep = expected > 0
    assert observed[~keep].sum() == 0
    assert chisquare(observed[keep], expected[keep]).pvalue > 1e-4


def test_uniform_batches_at_beta_0():
    batches = draws(3, n_clusters=4, beta=0)
    included = np.bincount(batches.ravel(), minlength=12)
    expected = np.full(12, N_DRAWS * 3 / 12)
    # Inclusions of one batch are negatively correlated, which only makes the test stricter.
    assert chisquare(included, expected).pvalue > 1e-4
    assert chisquare(np.bincount(batches[:, 2], minlength=12)).pvalue > 1e-4


def test_centroids_in_proportion_to_importance_at_beta_inf():
    _, centroids = first_draw_law(4, 0.0)
    counts = np.bincount(draws(n_clusters=4, beta=np.inf)[:, 0], minlength=12)
    assert set(np.flatnonzero(counts)) == set(centroids)
    share = IMPORTANCE[centroids] / IMPORTANCE[centroids].sum()
    assert chisquare(counts[centroids], share * N_DRAWS).pvalue > 1e-4


def test_a_very_cold_batch_is_that_of_beta_inf():
    for seed in range(20):
        cold, frozen = (
            AnnealedClusters(n_clusters=4, beta=beta, random_state=seed).select(P, 5)
            for beta in (1e12, np.inf)
        )
        np.testing.assert_array_equal(cold, frozen)


def test_one_cluster_anneals_around_its_centroid():
    D = cdist(P, P, "jensenshannon")
    centroid = np.argsort(IMPORTANCE)[6]
    np.testing.assert_array_equal(
        AnnealedClusters(n_clusters=1, beta=np.inf, metric="jensenshannon").select(
            P, 12, scores=IMPORTANCE
        ),
        np.argsort(D[centroid]),
    )


def test_second_draw_is_renormalised_over_what_is_left():
    Z = np.array([[0.0], [1.0], [2.5]])
    batches = draws(3, np.ones(3), Z, "euclidean", n_clusters=3, beta=1.0)
    gibbs = np.exp(-np.abs(Z - Z.T))
    law = {}
    for i in range(3):
        for j in {0, 1, 2} - {i}:
            first = gibbs[:, i] / gibbs.sum(1) / 3
            left = [s for s in range(3) if s != i]
            second = gibbs[:, j] / gibbs[:, left].sum(1) / 3
            law[i, j] = first.sum() * second.sum()
    counts = [((batches[:, 0] == i) & (batches[:, 1] == j)).sum() for i, j in law]
    assert chisquare(counts, np.array(list(law.values())) * N_DRAWS).pvalue > 1e-4


def test_equal_rows_are_equally_likely():
    Z = np.zeros((6, 2))
    counts = np.bincount(draws(1, np.arange(6.0), Z, "euclidean", beta=np.inf, n_clusters=2)[:, 0])
    assert chisquare(counts).pvalue > 1e-4


def test_no_importance_draws_clusters_uniformly():
    Z = np.array([[0.0], [10.0], [20.0], [20.1], [20.2]])
    for importance in (None, np.zeros(5), -np.ones(5)):
        picks = draws(1, importance, Z, "euclidean", beta=np.inf, n_clusters=3)[:, 0]
        groups = np.bincount(np.minimum(picks, 2))
        assert chisquare(groups).pvalue > 1e-4


def test_upper_median():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    importance = np.array([3.0, 1.0, 4.0, 2.0, 9.0, 7.0, 8.0, 0.0])
    np.testing.assert_array_equal(upper_medians(labels, importance), [0, 6, 7])


def test_draws_never_hit_a_weight_of_zero():
    rng = np.random.RandomState(0)
    weights = np.array([0.0, 1.0, 0.0, 2.0, 0.0])
    assert set(_draw_many(weights, 1000, rng)) == {1, 3}


def test_fewer_clusters_than_rows_to_draw():
    picks = AnnealedClusters(n_clusters=2, random_state=0).select(RNG.random((30, 2)), 25)
    assert len(set(picks.tolist())) == 25


@pytest.mark.parametrize("method", ["single", "average", "complete"])
@pytest.mark.parametrize("n_clusters", [1, 5, 60])
def test_clusters_are_scipys(method, n_clusters):
    Z = np.random.default_rng(3).standard_normal((80, 3))
    selector = AnnealedClusters(linkage=method, n_clusters=n_clusters)
    expected = fcluster(linkage(Z, method), n_clusters, "maxclust")
    assert adjusted_rand_score(expected, selector._clusters(Euclidean(Z), 1)) == 1
    sizes = selector.cluster_sizes(Z)
    assert sizes.tolist() == sorted(np.bincount(expected)[1:], reverse=True)


def test_average_linkage_of_probabilities():
    selector = AnnealedClusters(linkage="average", n_clusters=4, metric="jensenshannon")
    expected = fcluster(linkage(pdist(P, "jensenshannon"), "average"), 4, "maxclust")
    assert adjusted_rand_score(expected, selector._clusters(JensenShannon(P), 1)) == 1


def test_default_number_of_clusters_is_five_per_row_of_the_batch():
    Z = RNG.random((40, 2))
    assert len(AnnealedClusters().cluster_sizes(Z, 4)) == 20
    assert len(AnnealedClusters().cluster_sizes(Z, 9)) == 40


def test_candidates():
    Z = RNG.random((50, 2))
    selector = AnnealedClusters(max_candidates=10, beta=0, random_state=np.random.RandomState(0))
    assert len(selector.cluster_sizes(Z, 3)) == 10
    assert len(set(selector.select(Z, 20).tolist())) == 20  # never fewer than the batch
    picks = np.concatenate([selector.select(Z, 10) for _ in range(200)])
    assert chisquare(np.bincount(picks, minlength=50)).pvalue > 1e-4


def test_scores_returned_are_the_importance():
    _, values = AnnealedClusters().select(P, 2, scores=IMPORTANCE - 0.5, return_scores=True)
    np.testing.assert_array_equal(values, np.maximum(IMPORTANCE - 0.5, 0))
    assert AnnealedClusters().select(P, 2, return_scores=True)[1].tolist() == [1.0] * 12


# ---------------------------------------------------------------- errors


def test_rows_that_are_no_probabilities_are_named():
    Z = P.copy()
    Z[[3, 7]] = [[0.5, 0.6, 0.2], [-0.5, 1.0, 0.5]]
    with pytest.raises(ValueError, match=r"rows of probabilities.*2 of 12 rows.*\[3, 7\].*'eucl"):
        AnnealedClusters(metric="jensenshannon", random_state=0).select(Z, 1)


def test_linkages_with_a_matrix_refuse_what_does_not_fit():
    message = r"'average' needs all distances, which would take 37.3 GiB.*linkage='single'"
    with pytest.raises(MemoryError, match=message):
        AnnealedClusters(linkage="average", n_clusters=3).select(np.zeros((100_000, 1)), 1)


@pytest.mark.parametrize("beta", [-1.0, np.nan, "exp"])
def test_bad_beta(beta):
    with pytest.raises(ValueError, match="'beta' parameter of AnnealedClusters must be a float"):
        AnnealedClusters(beta=beta).select(P, 1)
