"""KCenterGreedy against scikit-activeml's CoreSet: CPU time, memory, and the same picks.

    python benchmarks/speed/bench_kcenter.py --peer-python PATH/bin/python

benchmarks/README.rst says how to make the peer's environment. Without --peer-python, skal alone is
measured. --quick takes a tenth of the pool, of the labelled rows and of the batch.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
from _harness import interleaved, measure, table, timed

SIZES = {"n_pool": 50_000, "n_features": 512, "n_labeled": 5_000, "n_instances": 1_000}
QUICK = {"n_pool": 5_000, "n_features": 512, "n_labeled": 500, "n_instances": 100}
SMALL = {"n_pool": 3_000, "n_features": 32, "n_labeled": 200, "n_instances": 500}


def skal(pool, labeled):
    """skal's selector on the arrays."""
    from skal.selection import KCenterGreedy

    labeled = labeled if len(labeled) else None
    return lambda n: KCenterGreedy(random_state=0).select(pool, n, Z_labeled=labeled)


def scikit_activeml(pool, labeled):
    """The peer's strategy; it wants pool and labelled rows in one array, made before the call."""
    from skactiveml.pool import CoreSet

    X = np.concatenate([pool, labeled])
    y = np.r_[np.full(len(pool), np.nan), np.zeros(len(labeled))]
    return lambda n: CoreSet(random_state=0).query(X, y, batch_size=n)


CONTESTANTS = {"skal": skal, "scikit-activeml": scikit_activeml}


def brute_force(pool, labeled, n_instances):
    """The textbook loop on float64 differences."""
    pool, labeled = pool.astype(np.float64), labeled.astype(np.float64)
    distance = np.full(len(pool), np.inf)
    picks = []
    if len(labeled) == 0:
        picks.append(int(np.argmax((pool**2).sum(1))))
        distance = ((pool - pool[picks[0]]) ** 2).sum(1)
        distance[picks] = -1
    for centre in labeled:
        distance = np.minimum(distance, ((pool - centre) ** 2).sum(1))
    while len(picks) < n_instances:
        picks.append(int(np.argmax(distance)))
        distance = np.minimum(distance, ((pool - pool[picks[-1]]) ** 2).sum(1))
        distance[picks] = -1
    return picks


def write_inputs(folder, sizes):
    """Standard normal float32 rows, seeded."""
    rng = np.random.default_rng(0)
    for name, n in (("pool", sizes["n_pool"]), ("labeled", sizes["n_labeled"])):
        rows = rng.standard_normal((n, sizes["n_features"]), dtype=np.float32)
        np.save(Path(folder) / f"{name}.npy", rows)


def child(name, folder, n_instances):
    """One measurement in this process; the inputs are loaded and the libraries warm."""
    pool, labeled = np.load(Path(folder) / "pool.npy"), np.load(Path(folder) / "labeled.npy")
    CONTESTANTS[name](pool[:200].copy(), labeled[:20].copy())(5)
    call = CONTESTANTS[name](pool, labeled)
    timed(lambda: call(int(n_instances)))


def check_picks(contestants):
    """Say whether each contestant picks what the float64 loop picks, in order."""
    lines = []
    for n_labeled in (SMALL["n_labeled"], 0):
        sizes = {**SMALL, "n_labeled": n_labeled}
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(folder, sizes)
            pool = np.load(Path(folder) / "pool.npy")
            labeled = np.load(Path(folder) / "labeled.npy")
            expected = brute_force(pool, labeled, sizes["n_instances"])
            for name, python in contestants.items():
                if n_labeled == 0 and name != "skal":
                    continue  # its first pick is random then
                run = measure(python, __file__, [name, folder, sizes["n_instances"]])
                same = sum(a == b for a, b in zip(run["positions"], expected, strict=True))
                lines.append(
                    f"{name}: {same} of {len(expected)} picks as the float64 loop, in order "
                    f"({sizes['n_pool']} x {sizes['n_features']}, {n_labeled} labelled)"
                )
                if name == "skal" and same != len(expected):
                    raise SystemExit(lines[-1])
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--peer-python", help="Python with scikit-activeml 1.0.1")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    contestants = {"skal": sys.executable}
    if options.peer_python:
        contestants["scikit-activeml"] = options.peer_python
    sizes = QUICK if options.quick else SIZES
    lines = [
        "Greedy k-center: " + ", ".join(f"{key}={value}" for key, value in sizes.items()),
        f"float32, one thread, {options.repeats} interleaved runs in processes of their own, "
        "medians; peak is its rise during the call, inputs excluded.",
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
    ]
    for n_labeled in (sizes["n_labeled"], 0):
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(folder, {**sizes, "n_labeled": n_labeled})
            arguments = [folder, sizes["n_instances"]]
            found = interleaved(contestants, __file__, arguments, options.repeats)
        lines += [f"{n_labeled} labelled rows", *table(found, "skal")]
        if n_labeled and len(found) > 1:  # with none, the peer's first pick is random
            picks = [row["positions"] for row in found.values()]
            same = sum(a == b for a, b in zip(*picks, strict=True))
            lines.append(f"same pick at {same} of {len(picks[0])} places")
        lines.append("")
    lines += check_picks(contestants)
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
