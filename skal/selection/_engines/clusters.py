"""Batches from clusters of candidates: nearest to the centres of k-means, or shares by size."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist, pdist
from sklearn.cluster import KMeans, MeanShift

_BANDWIDTH_ROWS = 2000


def unit_table(rows):
    """Rows as float64 numbers whose largest is about 1, so that squares stay in range: (n, D)."""
    parts = []
    for part in rows.gather(slice(None)).parts():
        part = part.numpy()
        largest = float(np.abs(part).max(initial=0.0))
        parts.append(part / 2.0 ** np.ceil(np.log2(largest)) if largest > 0 else part)
    if len(parts) == 1:
        return parts[0]
    return np.einsum("nk,nd->nkd", parts[1], parts[0]).reshape(len(rows), -1)


def by_kmeans(Z, n_instances, rng):
    """Return the row nearest to each centre of k-means, all distinct: ndarray (n_instances,)."""
    n_distinct = len(np.unique(Z, axis=0))
    n_clusters = min(n_instances, n_distinct)
    model = KMeans(n_clusters, n_init=1, random_state=rng.randint(2**31 - 1)).fit(Z)
    distances = cdist(model.cluster_centers_, Z)
    centres, rows = linear_sum_assignment(distances)
    return _filled(rows[np.argsort(centres)], len(Z), n_instances)


def by_mean_shift(Z, n_instances, rng):
    """Return rows near the centres of a mean shift, by cluster size: ndarray (n_instances,).

    The bandwidth is 0.3 times the median distance of pairs. Quotas are rounded to the largest
    remainders.
    """
    part = Z[rng.permutation(len(Z))[:_BANDWIDTH_ROWS]]
    bandwidth = 0.3 * float(np.median(pdist(part))) if len(part) > 1 else 0.0
    if bandwidth == 0.0:
        return np.arange(n_instances)
    model = MeanShift(bandwidth=bandwidth, bin_seeding=False).fit(Z)
    sizes = np.bincount(model.labels_, minlength=len(model.cluster_centers_))
    share = n_instances * sizes / len(Z)
    quota = np.floor(share).astype(int)
    rest = np.argsort(quota - share, kind="stable")[: n_instances - quota.sum()]
    quota[rest] += 1
    picks = []
    for cluster in np.argsort(-sizes, kind="stable"):
        members = np.flatnonzero(model.labels_ == cluster)
        distances = np.linalg.norm(Z[members] - model.cluster_centers_[cluster], axis=1)
        picks.extend(members[np.argsort(distances, kind="stable")][: quota[cluster]])
    return _filled(np.array(picks), len(Z), n_instances)


def _filled(rows, n, n_instances):
    """Append the first rows that are not there yet."""
    left = np.setdiff1d(np.arange(n), rows)
    return np.concatenate([rows, left[: n_instances - len(rows)]]).astype(np.int64)
