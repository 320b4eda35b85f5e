"""KMeansPlusPlus against the plain loop: one pass over the pool per pick, in float32.

    python benchmarks/speed/bench_kmeans_plus_plus.py

The plain loop is what research code does, without its slips: factored rows, squared distances
updated in place after each pick, a draw from their cumulative sum. "proposals" is the engine that
skal used before, `_proposals.py`. --quick takes the pools of up to 20,000 rows.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
from _harness import interleaved, table, timed

SMALL = 5_000  # pools up to here: the time is that of _TIMES batches
_TIMES = 30
_CLUSTERS = {-1: 20, -2: 300}  # of dense rows, with a spread of 0.01

# n_pool, features, classes (0: dense rows, negative: in clusters), batch
SIZES = [
    (200, 16, 0, 20),
    (1_000, 64, 10, 20),
    (1_000, 64, 0, 300),
    (2_000, 64, -1, 100),
    (5_000, 64, 10, 100),
    (20_000, 64, -2, 1_000),
    (20_000, 128, 10, 100),
    (20_000, 128, 10, 300),
    (20_000, 128, 10, 1_000),
    (50_000, 512, 100, 1_000),
    (20_000, 128, 0, 100),
    (50_000, 512, 0, 1_000),
    (1_000_000, 64, 10, 1_000),
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


def proposals(features, factors):
    """The engine before the clocks."""
    from _proposals import KMeansPlusPlusByProposals

    from skal.utils._rows import Rows

    return lambda n: KMeansPlusPlusByProposals(random_state=0).select(Rows(features, factors), n)


CONTESTANTS = {"skal": skal, "proposals": proposals, "plain": plain}


def write_inputs(folder, n_pool, n_features, n_classes):
    """Rectified features; factors are probabilities minus one-hot labels, as BADGE has them."""
    rng = np.random.default_rng(0)
    features = np.abs(rng.standard_normal((n_pool, n_features), dtype=np.float32))
    if n_classes < 0:
        centres = rng.standard_normal((_CLUSTERS[n_classes], n_features), dtype=np.float32)
        features = centres[rng.integers(len(centres), size=n_pool)] + np.float32(0.01) * features
    np.save(Path(folder) / "features.npy", features)
    if n_classes > 0:
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
    times = _TIMES if len(features) <= SMALL else 1
    timed(lambda: [call(int(n_instances)) for _ in range(times)][-1])


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
        kind = f"{n_classes} classes x {n_features}" if n_classes > 0 else f"dense, {n_features}"
        if n_classes < 0:
            kind += f" in {_CLUSTERS[n_classes]} tight clusters"
        times = f", {_TIMES} times" if n_pool <= SMALL else ""
        lines += [f"{n_pool} rows, {kind}, batch {n_instances}{times}", *table(found, "skal"), ""]
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
