"""A hundred passes with dropout: what comes before the first dropout layer once, or every time.

    python benchmarks/speed/bench_mc_dropout.py

- "full passes" is the usual loop: dropout layers in training mode, T passes of the net over chunks
  of as many rows, and the sums of probabilities and entropies that BALD needs.
- "conv" has its only dropout layer before its last linear layer; in "no prefix" dropout comes
  first, and nothing can be saved.
"""

import argparse
import platform
import sys
from pathlib import Path

import numpy as np
from _harness import interleaved, table, timed

N_PASSES = 100
INPUTS = {"conv": (2000, 1, 28, 28), "no prefix": (2000, 64)}


def model(name):
    import torch
    from torch import nn

    from skal.neural_network import NeuralNetClassifier

    class Net(nn.Module):
        def __init__(self, n_features=None, n_outputs=10):
            super().__init__()
            if name == "conv":
                layers = [nn.Conv2d(1, 32, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(32, 64, 5)]
                layers += [nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 128)]
                layers += [nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, n_outputs)]
            else:
                layers = [nn.Dropout(0.2), nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.5)]
                layers += [nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, n_outputs)]
            self.layers = nn.Sequential(*layers)

        def forward(self, X):
            return self.layers(X)

    rng = np.random.default_rng(0)
    X = rng.standard_normal(INPUTS[name], dtype=np.float32)
    torch.manual_seed(0)
    net = NeuralNetClassifier(Net, max_epochs=1, random_state=0)
    return net.fit(X[:200], np.arange(200) % 10), X


def skal(net, X):
    from sklearn.frozen import FrozenEstimator

    from skal.strategies import BALD

    strategy = BALD(FrozenEstimator(net), n_passes=N_PASSES, random_state=0).fit(X[:10])
    return lambda: strategy.query(X, 100)


def full_passes(net, X):
    import torch

    from skal.views import NetView

    view = NetView(net)

    def call():
        scores = []
        with torch.no_grad():
            for _, chunk in view.batches(X):
                mean, entropies = 0, 0
                with view.evaluating():
                    for layer in view.module.modules():
                        layer.train(isinstance(layer, torch.nn.Dropout))
                    for _ in range(N_PASSES):
                        P = torch.softmax(view.module(chunk).double(), 1)
                        mean = mean + P / N_PASSES
                        entropies = entropies + torch.special.entr(P).sum(1) / N_PASSES
                scores.append(torch.special.entr(mean).sum(1) - entropies)
        return torch.cat(scores).argsort(descending=True)[:100]

    return call


CONTESTANTS = {"skal": skal, "full passes": full_passes}


def child(name, which):
    net, X = model(which)
    CONTESTANTS[name](net, X[:50])  # made, not run
    CONTESTANTS["skal"](net, X[:200])()
    timed(CONTESTANTS[name](net, X))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    lines = [
        f"BALD with {N_PASSES} passes of dropout, the net included.",
        f"float32, one thread, {options.repeats} interleaved runs in processes of their own, "
        "medians; peak is its rise during the call, inputs excluded.",
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
    ]
    for which, shape in INPUTS.items():
        contestants = dict.fromkeys(CONTESTANTS, sys.executable)
        found = interleaved(contestants, __file__, [which], options.repeats)
        shared = set(found["skal"]["positions"]) & set(found["full passes"]["positions"])
        lines += [
            f"{which}: {shape[0]} rows of {shape[1:]}",
            *table(found, "skal"),
            f"of 100 rows chosen, {len(shared)} in both (the masks differ)",
            "",
        ]
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
