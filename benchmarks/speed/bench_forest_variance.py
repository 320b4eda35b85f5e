"""ForestVariance against the formula written out: CPU time, memory, and the same picks.

    python benchmarks/speed/bench_forest_variance.py
    python benchmarks/speed/bench_forest_variance.py --quick

The other contestant grows the same forest and compares leaves with leaves, tree by tree; it keeps
the covariances of pool and targets and changes them with every pick, in float64. Growing the
forest and passing the pool through it is part of both. A pool of 100,000 rows is measured for skal
alone. --quick takes a tenth of the pool.
"""

import argparse
import platform
import sys
from pathlib import Path

import numpy as np
from _harness import interleaved, measure, table, timed

SIZES = {"n_features": 20, "n_labeled": 200, "n_instances": 20}
POOL, LARGE = 20_000, 100_000


def data(task, n_pool):
    """A smooth target of three of twenty columns, and some noise; classes are its quarters."""
    rng = np.random.RandomState(0)
    n = n_pool + SIZES["n_labeled"]
    X = rng.standard_normal((n, SIZES["n_features"]))
    y = X[:, 0] * X[:, 1] + X[:, 2] + 0.1 * rng.standard_normal(n)
    if task == "classification":
        y = np.digitize(y, [-1.0, 0.0, 1.0])
    return X[: SIZES["n_labeled"]], y[: SIZES["n_labeled"]], X[SIZES["n_labeled"] :]


def skal(X, y, pool):
    """skal's strategy, from the labelled rows to the batch."""
    from skal.strategies import ForestVariance

    return lambda n: ForestVariance(margin_from=None, random_state=0).fit(X, y).query(pool, n)


def plain(X, y, pool):
    """The same with the kernel by its definition, in float64."""
    from skal.strategies import ForestVariance

    def query(n_instances):
        strategy = ForestVariance(margin_from=None, random_state=0).fit(X, y)
        targets = draw_targets(strategy, len(pool))
        weights = strategy._weights(pool[targets])
        labeled, rows = strategy._rows(X), strategy._rows(pool)
        noise = strategy._posterior.noise
        K = kernel(labeled, labeled) + noise * np.eye(len(X))
        to_labeled = np.linalg.solve(K, kernel(labeled, rows))
        known = kernel(rows, labeled)
        C = kernel(rows, rows[targets]) - known @ to_labeled[:, targets]
        v = 1.0 - np.einsum("ij,ji->i", known, to_labeled)
        picks, columns = [], []
        for _ in range(n_instances):
            gains = (C**2 @ weights) / (v + noise)
            gains[picks] = -np.inf
            pick = int(np.argmax(gains))
            q = kernel(rows, rows[[pick]])[:, 0] - known @ to_labeled[:, pick]
            for column in columns:
                q -= column * column[pick]
            q /= np.sqrt(v[pick] + noise)
            C -= np.outer(q, q[targets])
            v -= q**2
            picks.append(pick)
            columns.append(q)
        return picks

    return query


def draw_targets(strategy, n):
    """The targets that the strategy draws for its first query."""
    from skal.utils._random import child_seed

    rng = np.random.RandomState(child_seed(strategy._seed, 1))
    return rng.permutation(n)[: strategy.n_targets]


def kernel(rows, others):
    """Shares of trees with a common leaf, or the mean of these and of the Matern kernel."""
    a, b = rows.leaves.numpy(), others.leaves.numpy()
    K = np.zeros((len(a), len(b)))
    for tree in range(a.shape[1]):
        K += a[:, tree, None] == b[None, :, tree]
    K /= a.shape[1]
    if rows.inputs is None:
        return K
    from scipy.spatial.distance import cdist

    s = np.sqrt(3.0) * cdist(rows.inputs.numpy(), others.inputs.numpy())
    return 0.5 * (K + (1.0 + s) * np.exp(-s))


CONTESTANTS = {"skal": skal, "formula written out": plain}


def child(name, task, n_pool, n_instances):
    """One measurement in this process; the inputs are made and the libraries warm."""
    X, y, pool = data(task, int(n_pool))
    CONTESTANTS[name](X, y, pool[:300])(5)
    call = CONTESTANTS[name](X, y, pool)
    timed(lambda: call(int(n_instances)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the pool")
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    shrink = 10 if options.quick else 1
    lines = [
        "ForestVariance: " + ", ".join(f"{key}={value}" for key, value in SIZES.items()),
        f"one thread, {options.repeats} interleaved runs in processes of their own, medians; peak "
        "is its rise during the call, inputs excluded.",
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
    ]
    for task in ("regression", "classification"):
        n_pool = POOL // shrink
        contestants = dict.fromkeys(CONTESTANTS, sys.executable)
        arguments = [task, n_pool, SIZES["n_instances"]]
        found = interleaved(contestants, __file__, arguments, options.repeats)
        lines += [f"{task}, {n_pool} rows", *table(found, "skal")]
        picks = [row["positions"] for row in found.values()]
        same = sum(a == b for a, b in zip(*picks, strict=True))
        lines += [f"same pick at {same} of {len(picks[0])} places", ""]
        run = measure(sys.executable, __file__, ["skal", task, LARGE // shrink, 20])
        lines += [
            f"{task}, {LARGE // shrink} rows, skal: {run['cpu_s']:.1f} s CPU, "
            f"+{run['peak_mib']:.0f} MiB",
            "",
        ]
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
