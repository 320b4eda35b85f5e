"""Greedy selectors on the shapes that are hard for them, against one pass over the pool per pick.

    python benchmarks/speed/bench_hard_shapes.py --peer-python PATH/bin/python

Bounds and guesses pay where rows are wide and far from each other. Here are pools where they do
not: near duplicates, tight clusters, few columns, heavy tails, low rank. The plain loop is the
simplest thing to write: float32 distances, float64 variances for MaxDet, a sort of all scores for
the top k. PATH is an environment with bmdal-reg 3.0.2 and torch (benchmarks/README.rst), for LCMD.
--quick takes a fifth of the pools and a tenth of the batches.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
from _harness import interleaved, table, timed

SIGMA = 0.3


def normal(n, width):
    return np.random.default_rng(0).standard_normal((n, width), dtype=np.float32)


def relu(n, width):
    return np.maximum(normal(n, width), 0)


def distinct(n, width, n_distinct=400):
    return normal(n_distinct, width)[np.random.default_rng(1).integers(n_distinct, size=n)]


def near_duplicates(n, width):
    return distinct(n, width) + np.float32(1e-4) * normal(n, width)


def heavy_tails(n, width):
    return normal(n, width) * np.exp(1.5 * normal(n, 1))


def clusters(n, width, n_clusters=20, spread=0.01, apart=10.0):
    return apart * distinct(n, width, n_clusters) + np.float32(spread) * normal(n, width)


def low_rank(n, width):
    return normal(n, 8) @ normal(8, width) + np.float32(1e-3) * normal(n, width)


# what is measured: selector, pool of (n_pool, n_features), batch
SHAPES = {
    "lcmd, normal": ("lcmd", normal, (20_000, 64), 300),
    "lcmd, 400 distinct rows": ("lcmd", distinct, (20_000, 64), 1_000),
    "lcmd, relu features": ("lcmd", relu, (20_000, 64), 100),
    "lcmd, heavy tails": ("lcmd", heavy_tails, (20_000, 64), 1_000),
    "lcmd, few columns": ("lcmd", normal, (100_000, 16), 300),
    "kcenter, normal": ("kcenter", normal, (20_000, 64), 1_000),
    "kcenter, tight far clusters": ("kcenter", clusters, (20_000, 64), 1_000),
    "kcenter, near duplicates": ("kcenter", near_duplicates, (20_000, 64), 1_000),
    "kcenter, 400 distinct rows": ("kcenter", distinct, (20_000, 64), 1_000),
    "kcenter, relu features": ("kcenter", relu, (20_000, 64), 1_000),
    "maxdet, tight clusters, 100": ("maxdet", clusters, (20_000, 64), 100),
    "maxdet, tight clusters": ("maxdet", clusters, (20_000, 64), 1_000),
    "maxdet, low rank": ("maxdet", low_rank, (20_000, 64), 1_000),
    "maxdet, relu features": ("maxdet", relu, (20_000, 64), 1_000),
    "topk, distinct scores": ("topk", normal, (1_000_000, 1), 100),
    "topk, five scores": ("topk", distinct, (1_000_000, 1, 5), 100),
}
PEER = "lcmd, normal"


def skal(job, pool):
    from skal.selection import LCMD, KCenterGreedy, MaxDet, TopK

    selector = {
        "lcmd": LCMD(random_state=0),
        "kcenter": KCenterGreedy(random_state=0),
        "maxdet": MaxDet(sigma=SIGMA, relative=False, random_state=0),
        "topk": TopK(random_state=0),
    }[job]
    return lambda n: selector.select(pool, n)


def plain_loop(job, pool):
    return lambda n: {"lcmd": lcmd, "kcenter": kcenter, "maxdet": maxdet, "topk": topk}[job](
        pool, n
    )


def bmdal(job, pool):
    """The peer's selection method on its own features, made before the call."""
    np.Inf = np.inf  # gone from NumPy 2
    import torch
    from bmdal_reg.bmdal.feature_data import TensorFeatureData
    from bmdal_reg.bmdal.feature_maps import IdentityFeatureMap
    from bmdal_reg.bmdal.features import Features
    from bmdal_reg.bmdal.selection import LargestClusterMaxDistSelectionMethod

    def features(rows):
        rows = torch.from_numpy(rows)
        return Features(IdentityFeatureMap(n_features=rows.shape[1]), TensorFeatureData(rows))

    pool, labeled = features(pool), features(pool[:0])
    options = {"sel_with_train": True, "verbosity": 0}
    return lambda n: LargestClusterMaxDistSelectionMethod(pool, labeled, **options).select(n)


def lcmd(Z, n):
    """Farthest row of the largest cluster; one float32 pass per pick."""
    sq_norms = np.einsum("ij,ij->i", Z, Z)
    value, nearest = np.full(len(Z), np.inf, dtype=np.float32), np.zeros(len(Z), dtype=np.int64)
    picks = [int(sq_norms.argmax())]
    while True:
        k = picks[-1]
        distance = np.maximum(sq_norms + sq_norms[k] - 2 * (Z @ Z[k]), 0)
        nearer = distance < value
        value[nearer], nearest[nearer] = distance[nearer], len(picks) - 1
        value[k] = 0
        if len(picks) == n:
            return picks
        largest = np.bincount(nearest, value, len(picks)).argmax()
        members = np.flatnonzero(nearest == largest)
        picks.append(int(members[value[members].argmax()]))


def kcenter(Z, n):
    """Farthest row of all; one float32 pass per pick."""
    sq_norms = np.einsum("ij,ij->i", Z, Z)
    value, picks = np.full(len(Z), np.inf, dtype=np.float32), [int(sq_norms.argmax())]
    while len(picks) < n:
        k = picks[-1]
        np.minimum(value, sq_norms + sq_norms[k] - 2 * (Z @ Z[k]), out=value)
        value[k] = -np.inf
        picks.append(int(value.argmax()))
    return picks


def maxdet(Z, n):
    """Row of largest posterior variance; one float64 pass per pick."""
    Z = Z.astype(np.float64)
    variance, M, picks = np.einsum("ij,ij->i", Z, Z), np.eye(Z.shape[1]), []
    while len(picks) < n:
        k = int(variance.argmax())
        picks.append(k)
        known = M @ Z[k]
        known /= np.sqrt(Z[k] @ known + SIGMA**2)
        M -= np.outer(known, known)
        variance -= (Z @ known) ** 2
        variance[k] = -np.inf
    return picks


def topk(Z, n):
    """A sort of all scores, ties at random."""
    order = np.lexsort((np.random.default_rng(0).permutation(len(Z)), -Z[:, 0]))
    return order[:n].tolist()


CONTESTANTS = {"skal": skal, "plain loop": plain_loop, "bmdal-reg": bmdal}


def child(name, job, path, n_instances):
    """One measurement in this process; the inputs are loaded and the libraries warm."""
    Z = np.load(path)
    CONTESTANTS[name](job, Z[:200].copy())(20)
    call = CONTESTANTS[name](job, Z)
    timed(lambda: call(int(n_instances)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="Python with bmdal-reg 3.0.2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small pools and batches")
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    lines = [
        "Hard shapes: greedy selectors against one pass over the pool per pick.",
        f"float32, one thread, {options.repeats} interleaved runs in processes of their own, "
        "medians; peak is its rise during the call, inputs excluded.",
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
    ]
    for name, (job, make, (n_pool, *rest), n_instances) in SHAPES.items():
        if options.quick:
            n_pool, n_instances = n_pool // 5, n_instances // 10
        contestants = dict.fromkeys(("skal", "plain loop"), sys.executable)
        if name == PEER and options.peer_python:
            contestants["bmdal-reg"] = options.peer_python
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pool.npy"
            np.save(path, make(n_pool, *rest))
            found = interleaved(contestants, __file__, [job, path, n_instances], options.repeats)
        heading = f"{name}: {n_pool} rows, {rest[0]} columns, batch {n_instances}"
        lines += [heading, *table(found, "skal"), ""]
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
