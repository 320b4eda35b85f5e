"""BADGE's batch against scikit-activeml's, and against loops with one pass over the pool per pick.

    python benchmarks/speed/bench_badge.py --peer-python PATH/bin/python

benchmarks/README.rst says how to make the peer's environment. All get the same penultimate
features and class probabilities, and choose a batch; the net's own pass is not timed.

- "research loop" is written the way the authors describe their own code: factored float32
  embedding, distances with a square root, squared again for the draw, and a discrete distribution
  built by SciPy for each pick.
- "plain loop" is the same without these slips: the least that one pass per pick can cost.
- scikit-activeml builds the embedding, and takes the origin for a first centre: a different law,
  the same task. It cannot build that of the large input (19 GiB in float32).

--quick takes the small input and the batch of 100 only. --device measures skal there, too, with
features and probabilities on it; wall seconds count then (untested on CUDA).
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
from _harness import interleaved, on_device, table, timed

# n_pool, features, classes, batch, whether the peer takes part
SIZES = [
    (20_000, 128, 10, 100, True),
    (20_000, 128, 10, 1_000, True),
    (50_000, 512, 100, 1_000, False),
]


def skal(H, P, device="cpu"):
    """What BADGE does after the pass of the net: residuals of the probabilities, and k-means++."""
    import torch

    from skal.selection import KMeansPlusPlus
    from skal.utils._rows import Rows
    from skal.views._last_layer import residuals

    H, log_P = torch.from_numpy(H).to(device), torch.from_numpy(np.log(P)).to(device)
    return lambda n: KMeansPlusPlus(random_state=0).select(Rows(H, residuals(log_P)), n)


def _factors(H, P):
    """Float32 residuals, and squared norms of the embeddings."""
    A = P.astype(np.float32)
    A[np.arange(len(A)), A.argmax(1)] -= 1
    return A, np.einsum("ij,ij->i", A, A) * np.einsum("ij,ij->i", H, H)


def research_loop(H, P):
    """One pass per pick; distances through a square root; a SciPy distribution per pick."""
    from scipy.stats import rv_discrete

    def call(n):
        rng = np.random.RandomState(0)
        A, sq_norms = _factors(H, P)
        picks, nearest = [int(np.argmax(sq_norms))], None
        while len(picks) < n:
            j = picks[-1]
            sq_distance = sq_norms + sq_norms[j] - 2 * (A @ A[j]) * (H @ H[j])
            distance = np.sqrt(np.clip(sq_distance, 0, None))
            nearest = distance if nearest is None else np.minimum(nearest, distance)
            nearest[picks] = 0
            weights = nearest.astype(np.float64) ** 2
            law = rv_discrete(values=(np.arange(len(H)), weights / weights.sum()))
            pick = int(law.rvs(random_state=rng))
            while pick in picks:
                pick = int(law.rvs(random_state=rng))
            picks.append(pick)
        return picks

    return call


def plain_loop(H, P):
    """One pass per pick and nothing else."""

    def call(n):
        rng = np.random.default_rng(0)
        A, sq_norms = _factors(H, P)
        picks, nearest = [int(np.argmax(sq_norms))], np.full(len(H), np.inf, dtype=np.float32)
        while len(picks) < n:
            j = picks[-1]
            product = H @ H[j]
            product *= A @ A[j]
            nearest = np.minimum(nearest, np.maximum(sq_norms + sq_norms[j] - 2 * product, 0))
            nearest[picks] = 0
            share = np.cumsum(nearest, dtype=np.float64)
            picks.append(int(np.searchsorted(share, rng.random() * share[-1], side="right")))
        return picks

    return call


def scikit_activeml(H, P):
    """The peer's strategy; its classifier answers with the probabilities given."""
    from skactiveml.base import SkactivemlClassifier
    from skactiveml.pool import Badge

    class Given(SkactivemlClassifier):
        def fit(self, X, y, sample_weight=None):
            return self

        def predict_proba(self, X):
            return P

    y = np.full(len(H), np.nan)
    given = Given(classes=list(range(P.shape[1])))
    return lambda n: Badge(random_state=0).query(H, y, given, fit_clf=False, batch_size=n)


def proposals(H, P):
    """What BADGE did before the clocks."""
    import torch
    from _proposals import KMeansPlusPlusByProposals

    from skal.utils._rows import Rows
    from skal.views._last_layer import residuals

    H, log_P = torch.from_numpy(H), torch.from_numpy(np.log(P))
    return lambda n: KMeansPlusPlusByProposals(random_state=0).select(Rows(H, residuals(log_P)), n)


CONTESTANTS = {
    "skal": skal,
    "proposals": proposals,
    "research loop": research_loop,
    "plain loop": plain_loop,
    "scikit-activeml": scikit_activeml,
}


def write_inputs(folder, n_pool, n_features, n_classes):
    """Rectified float32 features, and probabilities from sure to unsure."""
    rng = np.random.default_rng(0)
    H = np.abs(rng.standard_normal((n_pool, n_features), dtype=np.float32))
    np.save(Path(folder) / "features.npy", H)
    np.save(
        Path(folder) / "probabilities.npy", rng.dirichlet(np.full(n_classes, 2 / n_classes), n_pool)
    )


def _load(folder):
    return [np.load(Path(folder) / f"{name}.npy") for name in ("features", "probabilities")]


def child(name, folder, n_instances):
    """One measurement in this process; the inputs are loaded and the libraries warm."""
    H, P = _load(folder)
    name, device = on_device(name)
    where = {} if device == "cpu" else {"device": device}
    CONTESTANTS[name](H[:200].copy(), P[:200].copy(), **where)(20)
    call = CONTESTANTS[name](H, P, **where)
    timed(lambda: call(int(n_instances)))


def left_over(folder, positions):
    """Sum of squared distances of all rows to the nearest of a batch: what k-means++ keeps low."""
    H, P = _load(folder)
    A, sq_norms = _factors(H, P)
    nearest = np.full(len(H), np.inf)
    for a in range(0, len(positions), 100):
        block = positions[a : a + 100]
        products = (H @ H[block].T) * (A @ A[block].T)
        np.minimum(
            nearest, (sq_norms[:, None] + sq_norms[block] - 2 * products).min(1), out=nearest
        )
    return np.maximum(nearest, 0).sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="Python with scikit-activeml 1.0.1")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="20,000 rows and a batch of 100 only")
    parser.add_argument("--device", help="measure skal on this device of torch, too")
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    lines = [
        "BADGE: the batch, given features and probabilities.",
        f"float32, one thread, {options.repeats} interleaved runs in processes of their own, "
        "medians; peak is its rise during the call, inputs excluded.",
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
    ]
    for n_pool, n_features, n_classes, n_instances, peer in SIZES[: 1 if options.quick else None]:
        contestants = dict.fromkeys(
            ("skal", "proposals", "research loop", "plain loop"), sys.executable
        )
        if peer and options.peer_python:
            contestants["scikit-activeml"] = options.peer_python
        if options.device:
            contestants[f"skal on {options.device}"] = sys.executable
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(folder, n_pool, n_features, n_classes)
            found = interleaved(contestants, __file__, [folder, n_instances], options.repeats)
            left = {name: left_over(folder, row["positions"]) for name, row in found.items()}
        allowed = 64 + (16 * n_pool + 8 * n_pool * n_classes) / 2**20
        lines += [
            f"{n_pool} rows, {n_features} features, {n_classes} classes, batch {n_instances}",
            *table(found, "skal"),
            "left over after the batch, skal = 1: "
            + ", ".join(f"{name} {value / left['skal']:.3f}" for name, value in left.items()),
            f"distinct rows: {', '.join(str(len(set(r['positions']))) for r in found.values())}; "
            f"64 MiB + 16 N bytes + one N x K array are {allowed:.0f} MiB",
            "",
        ]
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
