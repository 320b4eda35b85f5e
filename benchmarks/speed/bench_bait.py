"""BAIT's batch against a dense reference: CPU time, memory, and the same picks.

    python benchmarks/speed/bench_bait.py

All get the same features and class probabilities of pool and labelled rows, and choose a batch:
2 B rows forward, then B of them are removed. skal computes in float64. The others hold the K x K d
factor V of every row's Fisher information in float32, multiply all of them with the K d x K d
matrices at every step, and update inverses by Woodbury's formula:

- "research form" is written as the formulas read, from left to right, as published code is:
  V M^-1 V' and V M^-1 F M^-1 V';
- "dense reference" makes V M^-1 once per step: half the products, the least that holding V costs.

A large pool follows, whose factors alone (10 GiB for 20,000 rows) are too much for them.

--quick takes the small pool only. --device runs skal there, too; wall seconds count then (untested
on CUDA).
"""

import argparse
import platform
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from _harness import interleaved, on_device, table, timed

N_LABELED = 100
# n_pool, features, classes, batch, whether the reference takes part
SIZES = [(1_200, 128, 10, 3, True), (20_000, 128, 10, 20, False)]


def skal(pool, labeled, device="cpu"):
    """What BAIT does after the pass of the net."""
    import torch

    from skal.selection._engines.fisher import fisher_factors, fisher_greedy

    def call(n):
        parts = [
            (
                torch.from_numpy(H).to(device).double(),
                fisher_factors(torch.from_numpy(P).to(device)),
            )
            for H, P in (pool, labeled)
        ]
        return fisher_greedy(*parts, n, np.random.RandomState(0))[0]

    return call


def _terms_once(V, inverse, everything):
    VM = V @ inverse
    return VM @ V.transpose(1, 2), VM @ everything @ VM.transpose(1, 2)


def _terms_as_read(V, inverse, everything):
    transposed = V.transpose(1, 2)
    return V @ inverse @ transposed, V @ inverse @ everything @ inverse @ transposed


def dense_reference(pool, labeled, device="cpu", terms=_terms_once):
    """Factors of all rows in memory, and two or four products with all of them per step."""
    import torch

    def factors(H, P):
        H, P = torch.from_numpy(H), torch.from_numpy(P).float()
        n, K = P.shape
        S = P.sqrt()[:, :, None] * (torch.eye(K) - P[:, None, :])
        return (S[:, :, :, None] * H[:, None, None, :]).reshape(n, K, -1)

    def information(V):
        V = V.reshape(-1, V.shape[2])
        return V.T @ V

    def trace_of(B, C):
        return torch.linalg.solve(C, B).diagonal(dim1=1, dim2=2).sum(1)

    def call(n):
        V, V_labeled = factors(*pool), factors(*labeled)
        m, eye = len(V_labeled), torch.eye(V.shape[1])
        gathered, everything = information(V_labeled), information(V)
        everything = (everything + gathered) / (len(V) + m)
        V = V * (n / (m + n)) ** 0.5
        inverse = torch.linalg.inv(gathered / (m + n) + torch.eye(V.shape[2]))
        chosen = []
        while len(chosen) < 2 * n:
            A, B = terms(V, inverse, everything)
            gains = trace_of(B, eye + A)
            gains[chosen] = -torch.inf
            chosen.append(int(gains.argmax()))
            VM = V[chosen[-1]] @ inverse
            inverse = inverse - VM.T @ torch.linalg.solve(eye + A[chosen[-1]], VM)
        while len(chosen) > n:
            A, B = terms(V[chosen], inverse, everything)
            out = int(trace_of(B, eye - A).argmin())
            VM = V[chosen.pop(out)] @ inverse
            inverse = inverse + VM.T @ torch.linalg.solve(eye - A[out], VM)
        return chosen

    return call


CONTESTANTS = {
    "skal": skal,
    "research form": partial(dense_reference, terms=_terms_as_read),
    "dense reference": dense_reference,
}


def write_inputs(folder, n_pool, n_features, n_classes):
    """Rectified float32 features, and probabilities from sure to unsure."""
    rng = np.random.default_rng(0)
    for name, n in (("pool", n_pool), ("labeled", N_LABELED)):
        H = np.abs(rng.standard_normal((n, n_features), dtype=np.float32))
        P = rng.dirichlet(np.full(n_classes, 2 / n_classes), n)
        np.savez(Path(folder) / f"{name}.npz", H=H, P=P)


def child(name, folder, n_instances):
    """One measurement in this process; the inputs are loaded and the libraries warm."""
    name, device = on_device(name)
    pool, labeled = (
        (part["H"], part["P"])
        for part in (np.load(Path(folder) / f"{name}.npz") for name in ("pool", "labeled"))
    )
    few = pool[0][:50, :8].copy(), pool[1][:50].copy()
    CONTESTANTS[name](few, few, device)(2)
    call = CONTESTANTS[name](pool, labeled, device)
    timed(lambda: call(int(n_instances)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the small pool only")
    parser.add_argument("--device", help="measure skal on this device of torch, too")
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    lines = [
        f"BAIT: the batch, given features and probabilities; {N_LABELED} labelled rows.",
        f"one thread, {options.repeats} interleaved runs in processes of their own, medians; "
        "peak is its rise during the call, inputs excluded.",
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
    ]
    for n_pool, n_features, n_classes, n_instances, reference in SIZES[: 2 - options.quick]:
        names = ["skal", "research form", "dense reference"] if reference else ["skal"]
        names += [f"skal on {options.device}"] if options.device else []
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(folder, n_pool, n_features, n_classes)
            contestants = dict.fromkeys(names, sys.executable)
            found = interleaved(contestants, __file__, [folder, n_instances], options.repeats)
        lines += [
            f"{n_pool} rows, {n_features} features, {n_classes} classes, batch {n_instances}",
            *table(found, "skal"),
        ]
        if len(names) > 1:
            same = all(row["positions"] == found["skal"]["positions"] for row in found.values())
            lines.append(f"the same rows in the same order: {'yes' if same else 'NO'}")
        lines.append("")
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
