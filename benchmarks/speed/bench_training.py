"""Training of plain MLPs: the short step against skorch's loop and autograd, in one process.

    python benchmarks/speed/bench_training.py

Both train the same nets on the same rows, in turn; medians of CPU seconds on one thread. The
weights agree to 1e-6, but where nothing is learnt: Adam divides rounding by rounding there.
"""

import argparse
import statistics
import time
from contextlib import nullcontext
from unittest import mock

import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_digits

from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor


def cases():
    X, y = load_digits(return_X_y=True)
    D, t = load_diabetes(return_X_y=True)
    rng = np.random.RandomState(0)
    wide = rng.standard_normal((500, 300)).astype(np.float32)
    classes = rng.randint(3, size=500)
    net = {"max_epochs": 60, "random_state": 0}
    yield "digits, 200 rows, 64-100-10", NeuralNetClassifier(**net), X[:200] / 16, y[:200]
    yield "digits, batches of 16", NeuralNetClassifier(batch_size=16, **net), X[:200] / 16, y[:200]
    yield "digits, 20 rows", NeuralNetClassifier(**net), X[:20] / 16, y[:20]
    yield "diabetes, 200 rows, 10-100-1", NeuralNetRegressor(**net), D[:200], t[:200]
    yield "500 rows, 300-100-3", NeuralNetClassifier(**net), wide, classes


def timed(net, X, y, usual):
    never = mock.patch("skal.neural_network._net.short_step", lambda *args: None)
    with never if usual else nullcontext():
        start = time.process_time()
        net.fit(X, y)
        return time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    for name, net, X, y in cases():
        times = {True: [], False: []}
        for _ in range(repeats + 1):
            for usual in (True, False):
                times[usual].append(timed(net, X, y, usual))
                weights = [p.detach().clone() for p in net.module_.parameters()]
                if usual:
                    expected = weights
        apart = max(float((p - q).abs().max()) for p, q in zip(expected, weights, strict=True))
        usual, short = (statistics.median(times[key][1:]) for key in (True, False))
        print(
            f"{name:30s} usual {usual:.3f} s, short {short:.3f} s, ratio {usual / short:.1f}, "
            f"weights agree to {apart:.0e}"
        )


if __name__ == "__main__":
    main()
