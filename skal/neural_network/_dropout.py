"""Stochastic passes: a net evaluated many times with its dropout on (Monte Carlo dropout)."""

import math
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from skal.neural_network._probabilities import log_probabilities, needs_logits
from skal.utils._random import child_seed

_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout)
_ALPHA = (nn.AlphaDropout, nn.FeatureAlphaDropout)
_SATURATED = -1.7580993408473766  # what SELU answers to minus infinity
_NUMBERS_PER_CHUNK = 2**16  # rows times passes


def dropout_log_probabilities(view, X, n_passes, seed):
    """Stream the class probabilities of rows under dropout.

    Everything but the dropout layers stays in evaluation mode. The units that a pass drops are the
    same for all rows, and depend on `seed` and the pass alone: rows can be given in any order and
    in any number of calls.

    Parameters
    ----------
    view : NetView
        Of a fitted classifier.

    X : array-like of shape (n_samples, n_features)
        Rows as the estimator takes them.

    n_passes : int
        T.

    seed : int
        Says which units are dropped.

    Yields
    ------
    rows : slice
        Positions in `X`, in order.

    log_P : tensor of shape (n_passes, n_rows, n_classes), dtype float64
        Natural logarithms of the probabilities, on the device of the view.

    Raises
    ------
    ValueError
        If no dropout layer that drops anything runs in the net, or its outputs are NaN or infinite.
    """
    layers = _active_layers(view)
    X = view.prepare(X)
    chunked = max(1, _NUMBERS_PER_CHUNK // n_passes) if view.batch_size is None else None
    with _batch_size(view, chunked), view.evaluating(), torch.no_grad():
        for rows, chunk in view.batches(X):
            passes = [_one_pass(view, layers, chunk, seed, t) for t in range(n_passes)]
            yield rows, torch.stack(passes)


def _one_pass(view, layers, chunk, seed, t):
    """Log-probabilities (n_rows, n_classes) of one pass over a chunk."""
    calls = []
    handles = [
        layer.register_forward_hook(partial(_drop, calls=calls, seed=seed, t=t)) for layer in layers
    ]
    try:
        found = view._forward(chunk, needs_logits(view.net), head_required=False)
    finally:
        for handle in handles:
            handle.remove()
    if not calls:
        raise ValueError(_no_dropout(view))
    view._check_finite("outputs", found["outputs"])
    return log_probabilities(view.net, found["outputs"], found.get("logits"), view._owner)


def _drop(layer, args, output, *, calls, seed, t):
    """Forward hook of a dropout layer in evaluation mode: drop units, the same in all rows."""
    # The number of the call, since one layer may run several times in a pass.
    generator = torch.Generator().manual_seed(child_seed(seed, t, len(calls)))
    calls.append(layer)
    shape = output.shape[1:]
    if isinstance(layer, _CHANNELS):
        shape = (*shape[:1], *[1] * len(shape[1:]))
    keep = 1.0 - layer.p
    kept = (torch.rand(shape, generator=generator) < keep).to(output)
    if isinstance(layer, _ALPHA):
        scale = 1 / math.sqrt(keep * (1 + _SATURATED**2 * layer.p)) if keep else 0.0
        return scale * (output * kept + _SATURATED * (1 - kept) - _SATURATED * layer.p)
    return output * (kept / keep if keep else kept)


def _active_layers(view):
    layers = [
        layer
        for layer in view.module.modules()
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0
    ]
    if not layers:
        raise ValueError(_no_dropout(view))
    return layers


def _no_dropout(view):
    return (
        f"{view._owner} needs stochastic passes, and no dropout layer with p > 0 runs in "
        f"{type(view.module).__name__}. Add torch.nn.Dropout layers to the module, or "
        "module__dropout=0.3 where it is skal's MLP, and fit again. Dropout that is called as a "
        "function does not count."
    )


@contextmanager
def _batch_size(view, batch_size):
    """Let a view take chunks of another size for a while; None changes nothing."""
    before = view.batch_size
    try:
        view.batch_size = batch_size if batch_size is not None else before
        yield
    finally:
        view.batch_size = before
