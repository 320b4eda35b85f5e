"""BatchBALD's batch against scikit-activeml's, given the answers of T models.

    python benchmarks/speed/bench_batchbald.py --peer-python PATH/bin/python

benchmarks/README.rst says how to make the peer's environment. Both get the same probabilities
(n_pool, T, C) and choose a batch of 4. All configurations of labels are counted: the batch is exact
in both, and must be the same.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
from _harness import interleaved, table, timed

N_POOL, N_MODELS, N_CLASSES, N_INSTANCES = 2000, 50, 10, 4


def skal(P):
    import torch

    from skal.selection._joint_entropy import joint_entropy_greedy

    def call(n):
        answers = torch.from_numpy(P).permute(0, 2, 1).contiguous()
        return joint_entropy_greedy(answers, n, np.random.RandomState(0))[0]

    return call


def scikit_activeml(P):
    from skactiveml.pool._bald import batch_bald

    answers = np.ascontiguousarray(P.transpose(1, 0, 2))

    def call(n):
        # It draws configurations beyond so many: all of those of the first three rows are counted.
        utilities = batch_bald(answers, n, n_MC_samples=N_CLASSES ** (n - 1), random_state=0)
        return np.nanargmax(utilities, axis=1)

    return call


CONTESTANTS = {"skal": skal, "scikit-activeml": scikit_activeml}


def child(name, folder):
    P = np.load(Path(folder) / "answers.npy")
    CONTESTANTS[name](P[:50].copy())(2)
    call = CONTESTANTS[name](P)
    timed(lambda: call(N_INSTANCES))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="Python with scikit-activeml 1.0.1")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    contestants = {"skal": sys.executable}
    if options.peer_python:
        contestants["scikit-activeml"] = options.peer_python
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        sure = rng.gamma(0.5, 4.0, (N_POOL, 1, 1))
        center = rng.dirichlet(np.full(N_CLASSES, 0.3), (N_POOL, 1))
        gamma = rng.gamma(center * sure + 0.02, size=(N_POOL, N_MODELS, N_CLASSES)) + 1e-12
        np.save(Path(folder) / "answers.npy", gamma / gamma.sum(2, keepdims=True))
        found = interleaved(contestants, __file__, [folder], options.repeats)
    same = len({tuple(row["positions"]) for row in found.values()}) == 1
    lines = [
        "BatchBALD: the batch, given the answers of the models; all configurations counted.",
        f"float64, one thread, {options.repeats} interleaved runs in processes of their own, "
        "medians; peak is its rise during the call, inputs excluded.",
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
        f"{N_POOL} rows, {N_MODELS} models, {N_CLASSES} classes, batch {N_INSTANCES}",
        *table(found, "skal"),
        "picks: " + "; ".join(f"{name} {row['positions']}" for name, row in found.items()),
        f"the same: {same}",
    ]
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
