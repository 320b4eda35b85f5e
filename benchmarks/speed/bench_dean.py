"""DeAn's clusters against those of SciPy and scikit-learn, which need a matrix of distances.

    python benchmarks/speed/bench_dean.py --output benchmarks/speed/results/dean.txt

All get the same rows of class probabilities, and cut single linkage on the square root of the
Jensen-Shannon divergence into 2,500 clusters. "scipy + scikit-learn" is the way published code
goes: all distances (SciPy's compiled ones), the square matrix, and AgglomerativeClustering.
"plain prim" is a minimum spanning tree grown row by row as skal's, but on all rows in every step.

The larger pools are those a matrix cannot serve: 20,000 rows take 3 GiB, 50,000 take 19 GiB,
several times over. --quick takes 8,000 rows only.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
from _harness import interleaved, table, timed

# n_pool, classes, who takes part, repeats
SIZES = [
    (8_000, 10, ("skal", "scipy + scikit-learn", "plain prim"), None),
    (20_000, 10, ("skal", "plain prim"), 1),
    (20_000, 100, ("skal", "plain prim"), 1),
    (50_000, 10, ("skal", "plain prim"), 1),
]
N_CLUSTERS = 2_500


def skal(P):
    """The clusters of AnnealedClusters."""
    from skal.selection._engines.linkage import JensenShannon, single_linkage

    return lambda: single_linkage(JensenShannon(P), min(N_CLUSTERS, len(P) // 2))


def scipy_and_scikit_learn(P):
    """All distances, and scikit-learn's clustering of the square matrix."""
    from scipy.spatial.distance import pdist, squareform
    from sklearn.cluster import AgglomerativeClustering

    def call():
        D = squareform(pdist(P, "jensenshannon"))
        clusters = AgglomerativeClustering(
            min(N_CLUSTERS, len(P) // 2), metric="precomputed", linkage="single"
        )
        return clusters.fit(D).labels_

    return call


def prim(P):
    """A minimum spanning tree, a row of the pool per step."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    def call():
        n, roots = len(P), np.sqrt(P)
        entropy = -(P * np.log2(np.maximum(P, 1e-300))).sum(1)
        nearest, source = np.full(n, np.inf), np.zeros(n, dtype=int)
        outside, row, edges = np.ones(n, dtype=bool), 0, []
        for _ in range(n - 1):
            outside[row] = False
            bound = 1 - roots @ roots[row]
            doubt = np.flatnonzero(outside & (bound < nearest**2 + 1e-14))
            mean = (P[doubt] + P[row]) / 2
            sq = -(mean * np.log2(np.maximum(mean, 1e-300))).sum(1)
            distance = np.sqrt(np.maximum(sq - (entropy[doubt] + entropy[row]) / 2, 0))
            closer = distance < nearest[doubt]
            nearest[doubt[closer]], source[doubt[closer]] = distance[closer], row
            row = int(np.argmin(np.where(outside, nearest, np.inf)))
            edges.append((source[row], row, nearest[row]))
        i, j, length = np.array(edges).T
        short = np.argsort(length)[: n - min(N_CLUSTERS, n // 2)]
        ones = np.ones(len(short))
        graph = coo_array((ones, (i[short].astype(int), j[short].astype(int))), shape=(n, n))
        return connected_components(graph, directed=False)[1]

    return call


CONTESTANTS = {"skal": skal, "scipy + scikit-learn": scipy_and_scikit_learn, "plain prim": prim}


def write_inputs(folder, n_pool, n_classes):
    """Probabilities from sure to unsure."""
    P = np.random.default_rng(0).dirichlet(np.full(n_classes, 2 / n_classes), n_pool)
    np.save(Path(folder) / "probabilities.npy", P)


def child(name, folder):
    """One measurement in this process; the inputs are loaded and the libraries warm."""
    P = np.load(Path(folder) / "probabilities.npy")
    CONTESTANTS[name](P[:300].copy())()
    timed(CONTESTANTS[name](P))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="8,000 rows only")
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    from sklearn.metrics import adjusted_rand_score

    lines = [
        "DeAn: single linkage of class probabilities, cut into 2500 clusters.",
        f"float64, one thread, interleaved runs in processes of their own (8000 rows: "
        f"{options.repeats}, others: 1), medians; peak is its rise during the call, inputs "
        "excluded.",
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
    ]
    for n_pool, n_classes, names, repeats in SIZES[: 1 if options.quick else None]:
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(folder, n_pool, n_classes)
            contestants = dict.fromkeys(names, sys.executable)
            found = interleaved(contestants, __file__, [folder], repeats or options.repeats)
        labels = found["skal"]["positions"]
        allowed = 64 + 8 * n_pool * n_classes / 2**20
        lines += [f"{n_pool} rows, {n_classes} classes", *table(found, "skal")]
        for name in names[1:]:
            agreement = adjusted_rand_score(labels, found[name]["positions"])
            lines.append(f"adjusted Rand index of skal and {name}: {agreement:.6f}")
        lines += [
            f"clusters: {len(set(labels))}, the largest of {np.bincount(labels).max()} rows; "
            f"64 MiB + 8 N K bytes are {allowed:.0f} MiB",
            "",
        ]
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
