"""NoiseStability's embedding against the published scheme: CPU time, memory, and the same numbers.

    python benchmarks/speed/bench_noise_stability.py

"published scheme" is written the way research code does it: the net is deep-copied for each
perturbation, the outputs grow by torch.cat batch by batch, deviations are divided row by row in a
Python loop, and perturbations are joined by torch.cat. No peer package is needed.

--quick takes a tenth of the rows. --device measures skal there, too; wall seconds count then
(untested on CUDA).
"""

import argparse
import copy
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
from _harness import interleaved, on_device, table, timed

N_PERTURBATIONS, ZETA, BATCH = 30, 1e-3, 1024
SIZES = {"mlp": 10_000, "cnn": 400}
NAMES = {"mlp": "MLP 215-128-128-128-128-10", "cnn": "CNN 28 x 28: 2 convolutions, 2 linear layers"}


def fitted(kind, X):
    """A net with random weights; how well it is trained does not matter here."""
    from torch import nn

    from skal.neural_network import NeuralNetClassifier

    class CNN(nn.Sequential):
        def __init__(self, n_features, n_outputs):
            super().__init__(
                nn.Conv2d(1, 32, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(32, 64, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(64 * 49, 128),
                nn.ReLU(),
                nn.Linear(128, n_outputs),
            )

    module = {"module__hidden": (128,) * 4} if kind == "mlp" else {"module": CNN}
    net = NeuralNetClassifier(**module, classes=range(10), max_epochs=1, random_state=0)
    X = X[:100]
    return net.fit(X, np.arange(len(X)) % 10)


def skal(net, X, jvp=False, device=None):
    """The embedding with noise per layer in the weights, as the authors' code has it."""
    from sklearn.frozen import FrozenEstimator

    from skal.strategies import NoiseStability

    strategy = NoiseStability(
        FrozenEstimator(net),
        n_perturbations=N_PERTURBATIONS,
        zeta=ZETA,
        preset="official",
        method="jvp" if jvp else "finite_difference",
        device=device,
        random_state=0,
    ).fit(X[:1])
    return lambda: strategy._represent(X)


def published_scheme(net, X):
    """A deep copy per perturbation, a Python loop over the rows."""
    import torch

    def predict(model):
        outputs = torch.tensor([])
        with torch.no_grad():
            for a in range(0, len(X), BATCH):
                part = torch.softmax(model(torch.from_numpy(X[a : a + BATCH])), 1)
                outputs = torch.cat((outputs, part), 0)
        return outputs

    def call():
        torch.manual_seed(0)
        model = net.module_.eval()
        clean, embedding = predict(model), None
        for _ in range(N_PERTURBATIONS):
            shaken = copy.deepcopy(model)
            with torch.no_grad():
                for layer in shaken.modules():
                    if getattr(layer, "weight", None) is not None:
                        noise = torch.randn(layer.weight.shape)
                        layer.weight.add_(noise * ZETA * layer.weight.norm() / noise.norm())
            deviation = predict(shaken) - clean
            for i in range(len(deviation)):
                deviation[i, :] /= clean[i].norm()
            embedding = deviation if embedding is None else torch.cat((embedding, deviation), 1)
        return embedding

    return call


CONTESTANTS = {
    "skal": skal,
    "skal, jvp": lambda net, X: skal(net, X, jvp=True),
    "published scheme": published_scheme,
}


def write_inputs(folder, kind, n_rows):
    """Standard normal float32 rows, or images."""
    shape = (n_rows, 215) if kind == "mlp" else (n_rows, 1, 28, 28)
    np.save(Path(folder) / "X.npy", np.random.default_rng(0).standard_normal(shape, np.float32))


def child(name, kind, folder):
    """One measurement; the result is shortened to norms of the rows, relative to their mean."""
    X = np.load(Path(folder) / "X.npy")
    net = fitted(kind, X)
    name, device = on_device(name)
    where = {} if device == "cpu" else {"device": device}
    CONTESTANTS[name](net, X[:128], **where)()
    call = CONTESTANTS[name](net, X, **where)
    timed(call, _norms)


def _norms(Z):
    norms = Z.double().norm(dim=1).cpu()
    return (norms / norms.mean()).numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--device", help="measure skal on this device of torch, too")
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    lines = [
        f"NoiseStability: the embedding, {N_PERTURBATIONS} perturbations.",
        f"float32, one thread, {options.repeats} interleaved runs in processes of their own, "
        "medians; peak is its rise during the call, inputs excluded.",
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
    ]
    for kind, n_rows in SIZES.items():
        n_rows //= 10 if options.quick else 1
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(folder, kind, n_rows)
            contestants = dict.fromkeys(CONTESTANTS, sys.executable)
            if options.device:
                contestants[f"skal on {options.device}"] = sys.executable
            found = interleaved(contestants, __file__, [kind, folder], options.repeats)
        norms = {name: row["positions"] for name, row in found.items()}
        agreement = {name: np.corrcoef(norms["skal"], norms[name])[0, 1] for name in norms}
        lines += [
            f"{NAMES[kind]}, {n_rows} rows",
            *table(found, "skal"),
            "correlation of the norms of rows with skal's (other noise in the published scheme): "
            + ", ".join(f"{name} {value:.3f}" for name, value in agreement.items()),
            "",
        ]
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
