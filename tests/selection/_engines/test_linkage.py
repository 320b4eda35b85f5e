"""Single linkage without a matrix, against SciPy's with one."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist
from sklearn.metrics import adjusted_rand_score

from skal.selection._engines.linkage import Euclidean, JensenShannon, single_linkage


def scipy_labels(distances, n_clusters, method="single"):
    merges = linkage(distances, method)
    return fcluster(merges, n_clusters, criterion="maxclust")


def probabilities(n, n_classes, concentration, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(n_classes, concentration), n)


def js(p, q):
    """sqrt of the Jensen-Shannon divergence in bits, from two Kullback-Leibler divergences."""
    m = (p + q) / 2
    kl = lambda a: sum(x * np.log2(x / y) for x, y in zip(a, m, strict=True) if x > 0)  # noqa: E731
    return np.sqrt(max(0.0, (kl(p) + kl(q)) / 2))


@pytest.mark.parametrize("n_clusters", [1, 2, 17, 250, 699])
@pytest.mark.parametrize(("n_classes", "concentration"), [(2, 1.0), (3, 0.3), (10, 0.05), (40, 2)])
def test_partition_is_scipys_on_probabilities(n_classes, concentration, n_clusters):
    P = probabilities(700, n_classes, concentration)
    expected = scipy_labels(pdist(P, "jensenshannon"), n_clusters)
    found = single_linkage(JensenShannon(P), n_clusters)
    assert len(np.unique(found)) == n_clusters
    assert adjusted_rand_score(expected, found) == 1


@pytest.mark.parametrize("n_clusters", [1, 3, 40, 500])
@pytest.mark.parametrize("width", [1, 2, 8])
def test_partition_is_scipys_on_numbers(width, n_clusters):
    rng = np.random.default_rng(0)
    Z = 1e4 + rng.standard_normal((600, width)) + 4 * rng.integers(0, 3, (600, 1))
    found = single_linkage(Euclidean(Z), n_clusters)
    assert adjusted_rand_score(scipy_labels(pdist(Z), n_clusters), found) == 1


def test_clusters_far_apart():
    rng = np.random.default_rng(0)
    Z = np.concatenate([center + rng.standard_normal((400, 2)) for center in (0, 100, 300)])
    for n_clusters in (1, 2, 3, 10):
        found = single_linkage(Euclidean(Z), n_clusters)
        assert adjusted_rand_score(scipy_labels(pdist(Z), n_clusters), found) == 1


def test_equal_rows_are_joined_first():
    P = np.repeat(probabilities(60, 4, 1.0), 20, axis=0)
    order = np.random.default_rng(1).permutation(len(P))
    found = single_linkage(JensenShannon(P[order]), 60)
    assert adjusted_rand_score(np.repeat(np.arange(60), 20)[order], found) == 1
    # All equal: any partition of the right number will do.
    assert len(np.unique(single_linkage(JensenShannon(np.full((500, 2), 0.5)), 7))) == 7


def test_rows_that_are_sure_of_one_class():
    """Distances of rounding size among thousands of rows: no pair of them need be measured."""
    rng = np.random.default_rng(0)
    noise = 1e-9 * rng.random((3000, 1))
    P = np.eye(3)[rng.integers(0, 3, 3000)]
    P = (1 - noise) * P + noise / 3
    found = single_linkage(JensenShannon(P), 3)
    assert adjusted_rand_score(P.argmax(1), found) == 1


def test_order_of_rows_changes_nothing():
    P = probabilities(500, 5, 0.3)
    order = np.random.default_rng(1).permutation(500)
    first = single_linkage(JensenShannon(P), 40)
    assert adjusted_rand_score(first[order], single_linkage(JensenShannon(P[order]), 40)) == 1


# ---------------------------------------------------------------- the distance


def test_distance_by_its_definition():
    P = np.vstack([probabilities(12, 4, 0.3), np.eye(4)])
    space = JensenShannon(P)
    D = np.array([space.from_row(i) for i in range(len(P))])
    expected = np.array([[js(p, q) for q in P] for p in P])
    np.testing.assert_allclose(D, expected, atol=1e-7)
    np.testing.assert_array_equal(D, D.T)
    np.testing.assert_array_equal(np.diag(D), 0)
    np.testing.assert_array_equal(D[12:, 12:], 1 - np.eye(4))
    through_third = (D[:, :, None] + D[None, :, :].transpose(0, 2, 1)).min(1)
    assert (D <= through_third + 1e-12).all()


def test_the_bound_is_one():
    P = probabilities(200, 6, 0.1)
    space = JensenShannon(P)
    i, j = np.triu_indices(200, 1)
    bound = np.linalg.norm(space.Y[i] - space.Y[j], axis=1)
    distance = space.pairs(i, j)
    assert (bound <= distance + 1e-9).all()
    assert (distance <= bound / np.sqrt(np.log(2)) + 1e-9).all()


def test_rounding_is_no_distance():
    p = np.array([0.3, 0.7])
    P = np.array([p, np.nextafter(p, 1.0)])
    assert JensenShannon(P).pairs(np.array([0]), np.array([1])) == 0


def test_memory_is_linear():
    import tracemalloc

    n, n_classes = 6000, 10
    space = JensenShannon(probabilities(n, n_classes, 0.2))
    tracemalloc.start()
    single_linkage(space, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20 + 8 * n * n_classes  # the matrix would take 275 MiB
