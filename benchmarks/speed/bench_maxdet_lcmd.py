"""MaxDet and LCMD against bmdal_reg: CPU time, memory, and the picks of a float64 loop.

    python benchmarks/speed/bench_maxdet_lcmd.py --peer-python PATH/bin/python

PATH is an environment with bmdal-reg 3.0.2 and torch. That release needs NumPy 1: with NumPy 2 it
fails on np.Inf, which this script defines before importing it. Without --peer-python, skal alone is
measured. --quick takes a tenth of the pool and of the batch.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
from _harness import interleaved, measure, table, timed

SIGMA = 0.3
SIZES = {
    "maxdet": {"n_pool": 50_000, "n_features": 512, "n_labeled": 0, "n_instances": 1_000},
    "lcmd": {"n_pool": 50_000, "n_features": 512, "n_labeled": 1_000, "n_instances": 500},
    "lcmd unlabelled": {"n_pool": 50_000, "n_features": 512, "n_labeled": 0, "n_instances": 500},
}
SMALL = {
    "maxdet": {"n_pool": 10_000, "n_features": 128, "n_labeled": 0, "n_instances": 400},
    "lcmd": {"n_pool": 5_000, "n_features": 64, "n_labeled": 300, "n_instances": 300},
}


def skal(job, pool, labeled):
    """skal's selector on the arrays."""
    from skal.selection import LCMD, MaxDet

    labeled = labeled if len(labeled) else None
    if job == "maxdet":
        selector = MaxDet(sigma=SIGMA, relative=False, random_state=0)
    else:
        selector = LCMD(random_state=0)
    return lambda n: selector.select(pool, n, Z_labeled=labeled)


def bmdal(job, pool, labeled, dtype="float32"):
    """The peer's selection methods on its own features, made before the call."""
    np.Inf = np.inf  # gone from NumPy 2
    import torch
    from bmdal_reg.bmdal.feature_data import TensorFeatureData
    from bmdal_reg.bmdal.feature_maps import IdentityFeatureMap
    from bmdal_reg.bmdal.features import Features
    from bmdal_reg.bmdal.selection import (
        LargestClusterMaxDistSelectionMethod,
        MaxDetSelectionMethod,
    )

    def features(rows):
        rows = torch.from_numpy(rows).to(getattr(torch, dtype))
        return Features(IdentityFeatureMap(n_features=rows.shape[1]), TensorFeatureData(rows))

    pool, labeled = features(pool), features(labeled)
    if job == "maxdet":
        options = {"sel_with_train": False, "noise_sigma": SIGMA, "verbosity": 0}
        return lambda n: MaxDetSelectionMethod(pool, labeled, **options).select(n)
    options = {"sel_with_train": True, "verbosity": 0}
    return lambda n: LargestClusterMaxDistSelectionMethod(pool, labeled, **options).select(n)


CONTESTANTS = {"skal": skal, "bmdal_reg": bmdal}


def maxdet_loop(pool, labeled, n_instances):
    """The textbook loop in float64: variances of all rows after every pick."""
    Z, M, picks = pool.astype(np.float64), np.eye(pool.shape[1]), []
    while len(picks) < n_instances:
        variance = np.einsum("ij,ij->i", Z @ M, Z)
        variance[picks] = -1.0
        picks.append(int(np.argmax(variance)))
        known = M @ Z[picks[-1]]
        M -= np.outer(known, known) / (Z[picks[-1]] @ known + SIGMA**2)
    return picks


def lcmd_loop(pool, labeled, n_instances):
    """The textbook loop on float64 differences."""
    Z, labeled = pool.astype(np.float64), labeled.astype(np.float64)
    value, nearest, picks = np.full(len(Z), np.inf), np.zeros(len(Z), dtype=int), []
    n_centres = 0

    def add(centre):
        distance = ((Z - centre) ** 2).sum(1)
        nearest[distance < value] = n_centres
        np.minimum(value, distance, out=value)

    for centre in labeled:
        add(centre)
        n_centres += 1
    while len(picks) < n_instances:
        if n_centres == 0:
            pick = int(np.argmax((Z**2).sum(1)))
        else:
            largest = np.bincount(nearest, weights=value, minlength=n_centres).argmax()
            members = np.flatnonzero(nearest == largest)
            pick = int(members[np.argmax(value[members])])
        picks.append(pick)
        add(Z[pick])
        n_centres += 1
    return picks


def write_inputs(folder, sizes):
    """Standard normal float32 rows, seeded."""
    rng = np.random.default_rng(0)
    for name, n in (("pool", sizes["n_pool"]), ("labeled", sizes["n_labeled"])):
        rows = rng.standard_normal((n, sizes["n_features"]), dtype=np.float32)
        np.save(Path(folder) / f"{name}.npy", rows)


def child(name, job, folder, n_instances):
    """One measurement in this process; the inputs are loaded and the libraries warm."""
    pool, labeled = np.load(Path(folder) / "pool.npy"), np.load(Path(folder) / "labeled.npy")
    CONTESTANTS[name](job, pool[:200].copy(), labeled[:20].copy())(5)
    call = CONTESTANTS[name](job, pool, labeled)
    timed(lambda: call(int(n_instances)))


def check_picks(contestants):
    """Say how many picks of each contestant are those of the float64 loop, in order."""
    lines = []
    for job, loop in (("maxdet", maxdet_loop), ("lcmd", lcmd_loop)):
        sizes = SMALL[job]
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(folder, sizes)
            pool = np.load(Path(folder) / "pool.npy")
            labeled = np.load(Path(folder) / "labeled.npy")
            expected = loop(pool, labeled, sizes["n_instances"])
            for name, python in contestants.items():
                run = measure(python, __file__, [name, job, folder, sizes["n_instances"]])
                lines.append(f"{name}, {job}: {_agreement(run['positions'], expected)} {sizes}")
                if name == "skal" and run["positions"] != expected:
                    raise SystemExit(lines[-1])
    return lines


def _agreement(found, expected):
    same = sum(a == b for a, b in zip(found, expected, strict=True))
    both = len(set(found) & set(expected))
    return f"{same} of {len(expected)} picks as the float64 loop in order, {both} as a set"


def main():
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--peer-python", help="Python with bmdal-reg 3.0.2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the pool and of the batch")
    parser.add_argument("--job", choices=SIZES, action="append", help="only this one")
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    contestants = {"skal": sys.executable}
    if options.peer_python:
        contestants["bmdal_reg"] = options.peer_python
    lines = [
        f"MaxDet (sigma={SIGMA}) and LCMD",
        f"float32, one thread, {options.repeats} interleaved runs in processes of their own, "
        "medians; peak is its rise during the call, inputs excluded.",
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
    ]
    for job in options.job or SIZES:
        sizes = dict(SIZES[job])
        if options.quick:
            sizes.update(n_pool=sizes["n_pool"] // 10, n_instances=sizes["n_instances"] // 10)
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(folder, sizes)
            arguments = [job, folder, sizes["n_instances"]]
            found = interleaved(contestants, __file__, arguments, options.repeats)
        lines += [
            f"{job}: " + ", ".join(f"{key}={value}" for key, value in sizes.items()),
            *table(found, "skal"),
        ]
        if "bmdal_reg" in found:
            ours, peers = found["skal"]["positions"], found["bmdal_reg"]["positions"]
            same = len(set(ours) & set(peers))
            lines.append(f"{same} of {len(ours)} rows are picked by both (both read float32)")
        lines.append("")
    lines += check_picks(contestants)
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
