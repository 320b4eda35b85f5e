"""KMeansPlusPlus against the plain loop: one pass over the pool per pick, in float32.

    python benchmarks/speed/bench_kmeans_plus_plus.py

The plain loop is what research code does, without its slips: factored rows, squared distances
updated in place after each pick, a draw from their cumulative sum. --quick takes the small pools.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
from _harness import interleaved, table, timed

# n_pool, features, classes (0: dense rows), batch
SIZES = [
    (20_000, 128, 10, 100),
    (20_000, 128, 10, 300),
    (20_000, 128, 10, 1_000),
    (50_000, 512, 100, 1_000),
    (20_000, 128, 0, 100),
    (50_000, 512, 0, 1_000),
]


def skal(features, factors):
    """skal's selector on Rows."""
    from skal.selection import KMeansPlusPlus
    from skal.utils._rows import Rows

    rows = Rows(features, factors)
    return lambda n: KMeansPlusPlus(random_state=0).select(rows, n)


def plain(features, factors):
    """One matrix-vector product per pick."""

    def call(n):
        rng = np.random.default_rng(0)
        norms = np.einsum("ij,ij->i", features, features)
        if factors is not None:
            norms *= np.einsum("ij,ij->i", factors, factors)
        picks = [int(np.argmax(norms))]
        distance = np.full(len(features), np.inf, dtype=np.float32)
        while len(picks) < n:
            product = features @ features[picks[-1]]
            if factors is not None:
                product *= factors @ factors[picks[-1]]
            new = norms + norms[picks[-1]] - 2 * product
            distance = np.minimum(distance, np.maximum(new, 0))
            distance[picks] = 0
            share = np.cumsum(distance, dtype=np.float64)
            picks.append(int(np.searchsorted(share, rng.random() * share[-1], side="right")))
        return picks

    return call


CONTESTANTS = {"skal": skal, "plain": plain}


def write_inputs(folder, n_pool, n_features, n_classes):
    """Rectified features; factors are probabilities minus one-hot labels, as BADGE has them."""
    rng = np.random.default_rng(0)
    features = np.abs(rng.standard_normal((n_pool, n_features), dtype=np.float32))
    np.save(Path(folder) / "features.npy", features)
    if n_classes:
        factors = rng.dirichlet(np.full(n_classes, 2 / n_classes), n_pool)
        label = factors.argmax(1)
        factors[np.arange(n_pool), label] = 0
        factors[np.arange(n_pool), label] = -factors.sum(1)
        np.save(Path(folder) / "factors.npy", factors.astype(np.float32))


def child(name, folder, n_instances):
    """One measurement in this process; the inputs are loaded and the libraries warm."""
    features, factors = np.load(Path(folder) / "features.npy"), None
    if (Path(folder) / "factors.npy").exists():
        factors = np.load(Path(folder) / "factors.npy")
    CONTESTANTS[name](features[:200], None if factors is None else factors[:200])(20)
    call = CONTESTANTS[name](features, factors)
    timed(lambda: call(int(n_instances)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the pools of 20,000 rows only")
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    lines = [
        "k-means++ seeding against one float32 pass per pick.",
        f"float32, one thread, {options.repeats} interleaved runs in processes of their own, "
        "medians; peak is its rise during the call, inputs excluded.",
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
    ]
    contestants = dict.fromkeys(CONTESTANTS, sys.executable)
    for n_pool, n_features, n_classes, n_instances in SIZES:
        if options.quick and n_pool > 20_000:
            continue
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(folder, n_pool, n_features, n_classes)
            found = interleaved(contestants, __file__, [folder, n_instances], options.repeats)
        kind = f"{n_classes} classes x {n_features}" if n_classes else f"dense, {n_features}"
        lines += [f"{n_pool} rows, {kind}, batch {n_instances}", *table(found, "skal"), ""]
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
