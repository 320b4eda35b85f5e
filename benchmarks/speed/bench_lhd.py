"""LHD's batch against loops with one pass over the pool per pick.

    python benchmarks/speed/bench_lhd.py

All get the same features and log-probabilities of a net and of its average, compute the embedding
lh, and choose a batch; the passes of the nets are not timed.

- "research loop" is written the way the authors' code goes about it: after each pick a Python loop
  over the pool compares every row's new distance with its nearest so far and notes the nearest
  pick, totals are taken by Python's own sum, SciPy builds a discrete distribution for the draw, and
  a row that was chosen before is drawn again.
- "plain loop" is the same law without these slips: one float32 matrix-vector product per pick and a
  cumulative sum, the least that one pass per pick can cost.

--quick takes the batch of 100 only.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
from _harness import interleaved, table, timed

# n_pool, features, classes, batch
SIZES = [(20_000, 128, 10, 100), (20_000, 128, 10, 1_000)]
NAMES = ("H_main", "H_averaged", "log_P_main", "log_P_averaged")


def skal(*inputs):
    """What LHD does after the passes of the two nets."""
    import torch

    from skal.strategies import LHD
    from skal.utils._rows import Rows

    H_main, H_averaged, log_P_main, log_P_averaged = map(torch.from_numpy, inputs)

    def call(n):
        predicted = log_P_averaged.argmax(1, keepdim=True)
        losses = (log_P_averaged.gather(1, predicted) - log_P_main.gather(1, predicted)).abs()
        selector = LHD._default_selector.set_params(random_state=0)
        return selector.select(Rows((H_averaged - H_main).mul_(losses.float())), n)

    return call


def _embedding(H_main, H_averaged, log_P_main, log_P_averaged):
    """The dense lh, float32."""
    rows, predicted = np.arange(len(H_main)), log_P_averaged.argmax(1)
    losses = np.abs(log_P_averaged[rows, predicted] - log_P_main[rows, predicted])
    return (losses[:, None] * (H_averaged - H_main)).astype(np.float32)


def research_loop(*inputs):
    """A Python loop over the pool, and a SciPy distribution with rejection, per pick."""
    from scipy.stats import rv_discrete
    from sklearn.metrics import pairwise_distances

    def call(n):
        rng = np.random.RandomState(0)
        lh = _embedding(*inputs)
        picks, nearest = [int(np.argmax([np.linalg.norm(row) for row in lh]))], None
        owner = [0] * len(lh)
        while len(picks) < n:
            distance = pairwise_distances(lh, lh[picks[-1]][None]).ravel().astype(np.float64)
            if nearest is None:
                nearest = distance
            for i in range(len(lh)):
                if distance[i] < nearest[i]:
                    nearest[i] = distance[i]
                    owner[i] = len(picks) - 1
            if sum(nearest) == 0:
                raise ValueError("All rows are equal to a pick.")
            weights = nearest**2
            law = rv_discrete(values=(np.arange(len(lh)), weights / sum(weights)))
            pick = int(law.rvs(random_state=rng))
            while pick in picks:
                pick = int(law.rvs(random_state=rng))
            picks.append(pick)
        return picks

    return call


def plain_loop(*inputs):
    """One pass per pick and nothing else."""

    def call(n):
        rng = np.random.default_rng(0)
        lh = _embedding(*inputs)
        sq_norms = np.einsum("ij,ij->i", lh, lh)
        picks, nearest = [int(np.argmax(sq_norms))], np.full(len(lh), np.inf, dtype=np.float32)
        while len(picks) < n:
            j = picks[-1]
            nearest = np.minimum(nearest, np.maximum(sq_norms + sq_norms[j] - 2 * (lh @ lh[j]), 0))
            nearest[picks] = 0
            share = np.cumsum(nearest, dtype=np.float64)
            picks.append(int(np.searchsorted(share, rng.random() * share[-1], side="right")))
        return picks

    return call


def proposals(*inputs):
    """What LHD did before the clocks."""
    import torch
    from _proposals import KMeansPlusPlusByProposals

    from skal.utils._rows import Rows

    return lambda n: KMeansPlusPlusByProposals(random_state=0).select(
        Rows(torch.from_numpy(_embedding(*inputs))), n
    )


CONTESTANTS = {
    "skal": skal,
    "proposals": proposals,
    "research loop": research_loop,
    "plain loop": plain_loop,
}


def write_inputs(folder, n_pool, n_features, n_classes):
    """Rectified features of a net and of its average, near each other, and log-probabilities."""
    rng = np.random.default_rng(0)
    H = np.abs(rng.standard_normal((n_pool, n_features), dtype=np.float32))
    step = 0.1 * rng.standard_normal((n_pool, n_features), dtype=np.float32)
    logits = 3 * rng.standard_normal((n_pool, n_classes))
    moved = logits + 0.3 * rng.standard_normal((n_pool, n_classes))
    values = [H, np.maximum(H + step, 0), logits, moved]
    for k in (2, 3):
        values[k] -= np.log(np.exp(values[k]).sum(1, keepdims=True))
    for name, value in zip(NAMES, values, strict=True):
        np.save(Path(folder) / f"{name}.npy", value)


def _load(folder):
    return [np.load(Path(folder) / f"{name}.npy") for name in NAMES]


def child(name, folder, n_instances):
    """One measurement in this process; the inputs are loaded and the libraries warm."""
    inputs = _load(folder)
    CONTESTANTS[name](*(values[:200].copy() for values in inputs))(20)
    call = CONTESTANTS[name](*inputs)
    timed(lambda: call(int(n_instances)))


def left_over(folder, positions):
    """Sum of squared distances of all rows to the nearest of a batch: what k-means++ keeps low."""
    lh = _embedding(*_load(folder)).astype(np.float64)
    nearest, sq_norms = np.full(len(lh), np.inf), (lh * lh).sum(1)
    for a in range(0, len(positions), 100):
        block = lh[positions[a : a + 100]]
        sq_distances = sq_norms[:, None] + (block * block).sum(1) - 2 * lh @ block.T
        np.minimum(nearest, sq_distances.min(1), out=nearest)
    return np.maximum(nearest, 0).sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a batch of 100 only")
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    lines = [
        "LHD: the batch, given features and log-probabilities of a net and of its average.",
        f"float32, one thread, {options.repeats} interleaved runs in processes of their own, "
        "medians; peak is its rise during the call, inputs excluded.",
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
    ]
    for n_pool, n_features, n_classes, n_instances in SIZES[: 1 if options.quick else None]:
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(folder, n_pool, n_features, n_classes)
            contestants = dict.fromkeys(CONTESTANTS, sys.executable)
            found = interleaved(contestants, __file__, [folder, n_instances], options.repeats)
            left = {name: left_over(folder, row["positions"]) for name, row in found.items()}
        same = len({row["positions"][0] for row in found.values()}) == 1
        lines += [
            f"{n_pool} rows, {n_features} features, {n_classes} classes, batch {n_instances}",
            *table(found, "skal"),
            "left over after the batch, skal = 1: "
            + ", ".join(f"{name} {value / left['skal']:.3f}" for name, value in left.items()),
            f"distinct rows: {', '.join(str(len(set(r['positions']))) for r in found.values())}; "
            f"first pick {'the same' if same else 'NOT the same'}",
            "",
        ]
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
