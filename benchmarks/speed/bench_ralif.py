"""RALIF's influence of every row and class on the pool's loss, against the published scheme.

    python benchmarks/speed/bench_ralif.py

Both get the penultimate features of pool and labelled rows and the last layer's weights.

- "published scheme" is written the way the authors describe their code: a backward pass for each
  row and class, one after another, and an inverse-Hessian product by stochastic iteration (LiSSA:
  20 repeats of 50 steps on batches of up to 4,096 labelled rows). The backward passes of 200 rows
  are timed and scaled to the pool, which the table says.
- "skal" solves one linear system by conjugate gradients and takes all directional
  derivatives from one matrix product; "skal, lissa" iterates as the authors do, once.

The values for 200 rows are compared: those of the published scheme with skal's, both from the
solution of skal's linear system. No peer package is needed.

--quick takes a tenth of the pool.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
from _harness import interleaved, table, timed

N_POOL, N_FEATURES, N_CLASSES, N_LABELED = 20_000, 128, 10, 1_000
N_TIMED = 200  # rows whose backward passes are timed
DAMPING, WEIGHT_DECAY = 1e-2, 1e-4
REPEATS, DEPTH, BATCH, SCALE = 20, 50, 4096, 25.0


def skal(data, solver="exact"):
    """All scores, from features and log-probabilities."""
    import torch

    from skal.views._influence import LastLayerInfluence, derivatives_for_pool
    from skal.views._last_layer import apply_layer, with_constant
    from skal.views._layer_curvature import directional_losses

    H, head, H_labeled, _ = (torch.from_numpy(part) for part in data)

    def call():
        log_P = torch.log_softmax(apply_layer(H, head), 1)
        P_labeled = torch.softmax(apply_layer(H_labeled, head), 1)
        influence = LastLayerInfluence(
            with_constant(H_labeled, torch.float64),
            P_labeled,
            (WEIGHT_DECAY, WEIGHT_DECAY),
            DAMPING,
            "the benchmark",
        )
        U = derivatives_for_pool(H, log_P, influence, solver)
        return (directional_losses(log_P.exp(), U) / -len(H_labeled)).numpy()

    return call


def published_scheme(data):
    """A backward pass per row and class; the inverse-Hessian product by LiSSA, 20 times."""
    import torch
    from torch import nn

    H, head, H_labeled, y_labeled = (torch.from_numpy(part) for part in data)
    layer = nn.Linear(H.shape[1], len(head))
    with torch.no_grad():
        layer.weight.copy_(head[:, :-1])
        layer.bias.copy_(head[:, -1])
    parameters, loss = list(layer.parameters()), nn.CrossEntropyLoss()

    def pool_gradient():
        total = [torch.zeros_like(p) for p in parameters]
        for a in range(0, len(H), 256):
            outputs = layer(H[a : a + 256])
            gradients = torch.autograd.grad(loss(outputs, outputs.argmax(1)), parameters)
            total = [t + g for t, g in zip(total, gradients, strict=True)]
        return total

    def lissa(v):
        results = []
        for _ in range(REPEATS):
            estimate = v
            for _ in range(DEPTH):
                rows = torch.randperm(len(H_labeled))[:BATCH]
                value = loss(layer(H_labeled[rows]), y_labeled[rows])
                first = torch.autograd.grad(value, parameters, create_graph=True)
                product = torch.autograd.grad(
                    sum((g * e).sum() for g, e in zip(first, estimate, strict=True)), parameters
                )
                estimate = [
                    a + 0.99 * e - p / SCALE for a, e, p in zip(v, estimate, product, strict=True)
                ]
            results.append(estimate)
        return [torch.stack(parts).mean(0) for parts in zip(*results, strict=True)]

    def changes(direction, n_rows):
        scores = np.empty((n_rows, len(head)))
        for i in range(n_rows):
            for k in range(len(head)):
                value = loss(layer(H[i : i + 1]), torch.tensor([k]))
                gradient = torch.autograd.grad(value, parameters)
                scores[i, k] = -sum(
                    float((d * g).sum()) for d, g in zip(direction, gradient, strict=True)
                ) / len(H_labeled)
        return scores

    return pool_gradient, lissa, changes


def write_inputs(folder, n_pool):
    """Rectified features, a head that knows something, and labels."""
    rng = np.random.default_rng(0)
    H = np.abs(rng.standard_normal((n_pool + N_LABELED, N_FEATURES), dtype=np.float32))
    head = rng.standard_normal((N_CLASSES, N_FEATURES + 1)) * 0.3
    logits = H @ head[:, :-1].T + head[:, -1]
    y = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    arrays = {"H": H[:n_pool], "head": head, "H_labeled": H[n_pool:], "y": y[n_pool:]}
    for name, values in arrays.items():
        np.save(Path(folder) / f"{name}.npy", values)


def _load(folder):
    return [np.load(Path(folder) / f"{name}.npy") for name in ("H", "head", "H_labeled", "y")]


def child(name, folder):
    """One measurement in this process; inputs are loaded and libraries warm."""
    data = _load(folder)
    few = [data[0][:100], data[1], data[2][:100], data[3][:100]]
    if name.startswith("skal"):
        solver = "lissa" if "lissa" in name else "exact"
        skal(few, solver)()
        call = skal(data, solver)
        timed(lambda: call()[:N_TIMED].ravel())
        return
    gradient, _, changes = published_scheme(few)
    changes(gradient(), 5)
    gradient, lissa, changes = published_scheme(data)
    if name.endswith("per row"):
        direction = gradient()
        timed(lambda: changes(direction, N_TIMED).ravel())
    else:
        timed(lambda: lissa(gradient())[0].ravel().numpy())


def agreement(folder):
    """Largest difference of explicit backward passes and skal's values, over the largest value."""
    import torch

    from skal.views._influence import LastLayerInfluence
    from skal.views._last_layer import residuals, with_constant

    data = _load(folder)
    H = with_constant(torch.from_numpy(data[0]), torch.float64)
    labeled = with_constant(torch.from_numpy(data[2]), torch.float64)
    head = torch.from_numpy(data[1])
    log_P = torch.log_softmax(H @ head.T, 1)
    influence = LastLayerInfluence(
        labeled, torch.softmax(labeled @ head.T, 1), (WEIGHT_DECAY,) * 2, DAMPING, "the benchmark"
    )
    S = influence.solve(residuals(log_P).T @ H / len(H), "exact").float()
    explicit = published_scheme(data)[2]([S[:, :-1], S[:, -1]], N_TIMED)
    ours = skal(data)()[:N_TIMED]
    return np.abs(explicit - ours).max() / np.abs(ours).max()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the pool")
    parser.add_argument("--output", type=Path, help="also write the table there")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    n_pool = N_POOL // 10 if options.quick else N_POOL
    rows, solve = "published scheme, per row", "published scheme, LiSSA"
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(folder, n_pool)
        names = ["skal", "skal, lissa", rows, solve]
        found = interleaved(
            dict.fromkeys(names, sys.executable), __file__, [folder], options.repeats
        )
        difference = agreement(folder)
    factor = n_pool / N_TIMED
    per_row, lissa = found.pop(rows), found.pop(solve)
    found["published scheme"] = {
        "cpu_s": factor * per_row["cpu_s"] + lissa["cpu_s"],
        "wall_s": factor * per_row["wall_s"] + lissa["wall_s"],
        "peak_mib": max(per_row["peak_mib"], lissa["peak_mib"]),
        "range_s": [
            factor * a + b for a, b in zip(per_row["range_s"], lissa["range_s"], strict=True)
        ],
    }
    lines = [
        "RALIF: the influence of every row and class, given features and the last layer.",
        f"one thread, {options.repeats} interleaved runs in processes of their own, medians; peak "
        "is its rise during the call, inputs excluded.",
        f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
        "",
        f"{n_pool} rows, {N_FEATURES} features, {N_CLASSES} classes, {N_LABELED} labelled",
        *table(found, "skal"),
        f"published scheme: {factor:.0f} times the backward passes of {N_TIMED} rows "
        f"({per_row['cpu_s']:.3f} s), and LiSSA ({lissa['cpu_s']:.3f} s)",
        f"skal's values and explicit backward passes differ by at most {difference:.1e} of the "
        "largest",
        "",
    ]
    print("\n".join(lines))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
