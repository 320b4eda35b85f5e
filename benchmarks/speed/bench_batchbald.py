"""BatchBALD's batch against scikit-activeml's, given the answers of T models.

    python benchmarks/speed/bench_batchbald.py --peer-python PATH/bin/python

benchmarks/README.rst says how to make the peer's environment. Both get the same probabilities
(n_pool, T, C). In a batch of 4 all configurations of labels are counted: it is exact in both, and
must be the same. In a batch of 10 both draw 4000 configurations; what the batches tell of the model
is then estimated afresh for both, by the same function.

Two inputs: what 50 dropout passes of a net that has seen 100 digits say of 1797 of them, and drawn
answers of models that disagree as no net's passes do, where a row tells so much that the gains of
one round say little about the next: the lazy evaluation then saves nothing.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
from _harness import interleaved, table, timed

N_POOL, N_MODELS, N_CLASSES = 2000, 50, 10
EXACT, LARGE, N_DRAWN = 4, 10, 4000  # instances of a batch, and configurations drawn for large ones
N_TRAIN = 100


def skal(P):
    import torch

    from skal.selection._engines.joint_entropy import joint_entropy_greedy

    def call(n):
        answers = torch.from_numpy(P).permute(0, 2, 1).contiguous()
        limit = N_CLASSES**EXACT if n <= EXACT else N_DRAWN
        rng = np.random.RandomState(0)
        return joint_entropy_greedy(answers, n, rng, max_configurations=limit)[0]

    return call


def scikit_activeml(P):
    from skactiveml.pool._bald import batch_bald

    answers = np.ascontiguousarray(P.transpose(1, 0, 2))

    def call(n):
        # It draws configurations beyond so many; of the rows before the last, all are counted else.
        limit = N_CLASSES ** (EXACT - 1) if n <= EXACT else N_DRAWN
        utilities = batch_bald(answers, n, n_MC_samples=limit, random_state=0)
        return np.nanargmax(utilities, axis=1)

    return call


CONTESTANTS = {"skal": skal, "scikit-activeml": scikit_activeml}


def child(name, n_instances, folder):
    P = np.load(Path(folder) / "answers.npy")
    CONTESTANTS[name](P[:50].copy())(2)
    call = CONTESTANTS[name](P)
    timed(lambda: call(int(n_instances)))


def told(P, batch, n_draws=200_000):
    """What the labels of a batch tell of the model, in nats: I(y_S; t), by drawing them."""
    rng = np.random.default_rng(1)
    models = rng.integers(P.shape[1], size=n_draws)
    log_G = np.zeros((n_draws, P.shape[1]))
    for row in batch:
        edges = P[row, models].cumsum(1)
        labels = (rng.random((n_draws, 1)) * edges[:, -1:] >= edges).sum(1)
        log_G += np.log(P[row, :, labels])
    own = log_G[np.arange(n_draws), models]
    top = log_G.max(1)
    return np.mean(own - top - np.log(np.exp(log_G - top[:, None]).mean(1)))


def of_a_net():
    """Answers of a net with dropout, (1797, T, C)."""
    import torch
    from sklearn.datasets import load_digits

    from skal.neural_network import NeuralNetClassifier
    from skal.views import NetView
    from skal.views._dropout import dropout_log_probabilities

    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    net = NeuralNetClassifier(
        module__hidden=(64,), module__dropout=0.5, max_epochs=60, batch_size=16, random_state=0
    ).fit(X[:N_TRAIN], y[:N_TRAIN])
    passes = dropout_log_probabilities(NetView(net), X, n_passes=N_MODELS, seed=0)
    return torch.cat([log_P for _, log_P in passes], 1).exp().transpose(0, 1).numpy()


def drawn():
    """Answers drawn at random around a centre for each row, (N_POOL, T, C)."""
    rng = np.random.default_rng(0)
    sure = rng.gamma(0.5, 4.0, (N_POOL, 1, 1))
    center = rng.dirichlet(np.full(N_CLASSES, 0.3), (N_POOL, 1))
    gamma = rng.gamma(center * sure + 0.02, size=(N_POOL, N_MODELS, N_CLASSES)) + 1e-12
    return gamma / gamma.sum(2, keepdims=True)


def report(name, answers, n_instances, found):
    picks = {contestant: row["positions"] for contestant, row in found.items()}
    if n_instances <= EXACT:
        how = "all configurations counted"
        agreement = [
            "picks: " + "; ".join(f"{who} {rows}" for who, rows in picks.items()),
            f"the same: {len({tuple(rows) for rows in picks.values()}) == 1}",
        ]
    else:
        how = f"{N_DRAWN} configurations drawn"
        nats = ", ".join(f"{who} {told(answers, rows):.3f}" for who, rows in picks.items())
        agreement = [f"what the batch tells, in nats: {nats}"]
    return [
        f"{name}: {len(answers)} rows, {N_MODELS} models, {N_CLASSES} classes, "
        f"batch {n_instances}, {how}",
        *table(found, "skal"),
        *agreement,
        "",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="Python with scikit-activeml 1.0.1")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    contestants = {"skal": sys.executable}
    if options.peer_python:
        contestants["scikit-activeml"] = options.peer_python
    lines = [
        "BatchBALD: the batch, given the answers of the models.",
        f"float64, one thread, {options.repeats} interleaved runs in processes of their own, "
        "medians; peak is its rise during the call, inputs excluded.",
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
    ]
    for name, answers in (("dropout net on digits", of_a_net()), ("drawn answers", drawn())):
        for n_instances in (EXACT, LARGE):
            with tempfile.TemporaryDirectory() as folder:
                np.save(Path(folder) / "answers.npy", answers)
                found = interleaved(contestants, __file__, [n_instances, folder], options.repeats)
            lines += report(name, answers, n_instances, found)
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
