"""Stochastic passes: a net evaluated many times with its dropout on (Monte Carlo dropout).

Everything is in evaluation mode; a hook on each dropout layer drops the units that belong to the
seed and the pass. What comes before the first of these layers is the same in every pass: it is
computed once per row, where the rest of the net is a chain of modules, each fed with nothing but
the output of the one before.
"""

import math
from collections.abc import Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from skal.neural_network._loader import ROWS_ALIKE, padded
from skal.neural_network._net import first_output
from skal.utils._random import child_seed
from skal.views._probabilities import log_probabilities, needs_logits

_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout)
_ALPHA = (nn.AlphaDropout, nn.FeatureAlphaDropout)
_SATURATED = -1.7580993408473766  # what SELU answers to minus infinity
_NUMBERS = 2**21  # in the answers that are yielded at once
_KEPT = 2**23  # numbers of masks, or of weights with masks, that are kept
_ROWS = ROWS_ALIKE  # slices of rows are multiples of it, as chunks of a view are


def dropout_log_probabilities(view, X, n_passes, seed, *, shared=True):
    """Stream the class probabilities of rows under dropout.

    Parameters
    ----------
    view : NetView
        Of a fitted classifier. It is left as it was: weights, buffers, train flags and generators.

    X : array-like of shape (n_samples, n_features)
        Rows as the estimator takes them, or what `view.prepare` returned.

    n_passes : int
        T.

    seed : int
        Says which units are dropped.

    shared : bool, default=True
        Whether a pass drops the same units in all rows. They depend on `seed` and the pass alone
        then: the passes are T nets, and a row is answered alike whatever rows are beside it.
        False drops units of each row independently.

    Yields
    ------
    rows : slice
        Positions in `X`, in order.

    log_P : tensor of shape (n_passes, n_rows, n_classes), dtype float64
        Natural logarithms of the probabilities, on the device of the view.

    Raises
    ------
    ValueError
        If no dropout layer that drops anything runs in the net, its outputs are NaN or infinite, or
        the net is no classifier.

    Notes
    -----
    The net is in evaluation mode, dropout layers apart, only while it computes: nothing is changed
    between two chunks. The `dropout` of torch's recurrent and attention layers takes part;
    ``torch.nn.functional.dropout`` stays off, and so does that of recurrent layers on packed
    sequences. An answer holds about two million
    numbers, or 16 rows.
    """
    for rows, outputs, logits in _passes(view, X, n_passes, seed, shared, needs_logits(view.net)):
        flat_logits = None if logits is None else logits.flatten(0, 1)
        log_P = log_probabilities(view.net, outputs.flatten(0, 1), flat_logits, view._owner)
        yield rows, log_P.view(n_passes, -1, log_P.shape[1])


def dropout_outputs(view, X, n_passes, seed, *, shared=True):
    """Stream the outputs of rows under dropout: what a net for regression predicts.

    Parameters
    ----------
    view, X, n_passes, seed, shared
        As for :func:`dropout_log_probabilities`.

    Yields
    ------
    rows : slice
        Positions in `X`, in order.

    F : tensor of shape (n_passes, n_rows, n_outputs), dtype float64
        The outputs, in units of the target the net was trained on.
    """
    for rows, outputs, _ in _passes(view, X, n_passes, seed, shared, False):
        yield rows, outputs.double()


def _passes(view, X, n_passes, seed, shared, with_logits):
    """Stream outputs, and logits or None, of shape (n_passes, n_rows, n_outputs)."""
    masks = _Masks(view, seed, shared)
    chain = None
    for rows, chunk in view.batches(view.prepare(X)):
        with view.evaluating(), torch.no_grad():
            if chain is None:
                chain, n_outputs = _find_chain(view, masks, chunk)
                folded = None if with_logits else _folded(chain, masks, n_passes, n_outputs)
            start = chain.inputs(view, chunk)
        n_chunk = rows.stop - rows.start
        size = max(_ROWS, _NUMBERS // (n_passes * n_outputs) // _ROWS * _ROWS)
        for a in range(0, n_chunk, size):
            n, inputs = min(size, n_chunk - a), _part(start, a, a + size)
            with view.evaluating(), torch.no_grad():
                if folded is not None and inputs.ndim == 2:
                    outputs, logits = folded(inputs), None
                else:
                    masks.start = rows.start + a
                    outputs, logits = _run(view, chain, masks, inputs, n_passes, with_logits)
            outputs = outputs[:, :n]
            _check_finite(view, outputs, rows.start + a)
            logits = None if logits is None else logits[:, :n]
            yield slice(rows.start + a, rows.start + a + n), outputs, logits


def _run(view, chain, masks, inputs, n_passes, with_logits):
    """Outputs, and logits or None, of all passes over some rows."""
    outputs, logits = [], []
    with masks.attached():
        for t in range(n_passes):
            found = _one_pass(view, chain, masks, inputs, t, with_logits)
            outputs.append(found["outputs"])
            logits.append(found.get("logits"))
    return torch.stack(outputs), None if logits[0] is None else torch.stack(logits)


def _one_pass(view, chain, masks, inputs, t, with_logits):
    masks.begin(t, _n_rows(inputs))
    return view._forward(inputs, with_logits, False, chain)


# ---------------------------------------------------------------------- what is dropped


class _Masks:
    """Which units are dropped, and the hooks that drop them."""

    def __init__(self, view, seed, shared):
        self.layers = [
            layer
            for layer in view.module.modules()
            if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0
        ]
        if not self.layers:
            raise ValueError(_no_dropout(view))
        self.seed, self.shared, self.owner = seed, shared, view._owner
        self.start, self.kept, self.n_kept = 0, {}, 0

    def begin(self, t, n):
        """Start pass t over n rows."""
        self.t, self.n, self.n_calls = t, n, 0

    @contextmanager
    def attached(self):
        """Drop units for a while."""
        handles = [layer.register_forward_hook(self._drop) for layer in self.layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _drop(self, layer, args, output):
        """Forward hook of a dropout layer in evaluation mode."""
        call, self.n_calls = self.n_calls, self.n_calls + 1
        if self.shared and len(output) != self.n and len(output) != -(-self.n // _ROWS) * _ROWS:
            raise ValueError(
                f"{self.owner} drops the same units in all rows, and a {type(layer).__name__} gets "
                f"a tensor of shape {tuple(output.shape)} for {self.n} rows. Let the first axis of "
                "what dropout layers get be that of the rows (batch_first=True)."
            )
        mask = self.mask(layer, output, self.t, call)
        if not isinstance(layer, _ALPHA):
            return output * mask
        keep = 1.0 - layer.p
        scale = 1.0 / math.sqrt(keep * (1.0 + _SATURATED**2 * layer.p)) if keep else 0.0
        kept = mask * keep  # ones and zeros
        return scale * (output * kept + _SATURATED * (1.0 - kept - layer.p))

    def mask(self, layer, output, t, call):
        """Factors of a dropout layer's input at its call in pass t: 0, or 1 / (1 - p)."""
        if self.shared and (t, call) in self.kept:
            return self.kept[t, call]
        shape = [1 if self.shared else len(output), *output.shape[1:]]
        if isinstance(layer, _CHANNELS):
            shape[2:] = [1] * len(shape[2:])
        place = (t, call) if self.shared else (t, call, self.start)
        generator = torch.Generator().manual_seed(child_seed(self.seed, *place))
        keep = 1.0 - layer.p
        mask = (torch.rand(shape, generator=generator) < keep).to(output.device, output.dtype)
        mask = mask / keep if keep else mask
        if self.shared and self.n_kept + mask.numel() <= _KEPT:
            self.kept[t, call] = mask
            self.n_kept += mask.numel()
        return mask


def _no_dropout(view):
    return (
        f"{view._owner} needs stochastic passes, and no dropout layer with p > 0 runs in "
        f"{type(view.module).__name__}. Add torch.nn.Dropout layers to the module, or "
        "module__dropout=0.3 where it is skal's MLP, and fit again; dropout that is called as a "
        "function, or inside recurrent layers on packed sequences, does not count. A committee "
        "such as BaggingClassifier(net) serves, too."
    )


# ---------------------------------------------------------------------- what runs once


class _Chain:
    """Modules called one after the other, and where in the net the first of them gets its input."""

    def __init__(self, modules, n_before=0, whole=False):
        self.modules, self.n_before, self.whole = modules, n_before, whole

    def __call__(self, inputs):
        values = inputs
        for module in self.modules:
            values = module(**values) if isinstance(values, Mapping) else module(values)
        return values

    def inputs(self, view, chunk):
        """What the first module of the chain gets for a chunk of rows."""
        if self.whole:
            return chunk
        n_calls = 0

        def catch(module, args):
            nonlocal n_calls
            if n_calls == self.n_before:
                raise _Caught(args[0].clone())
            n_calls += 1

        handle = self.modules[0].register_forward_pre_hook(catch)
        try:
            view._forward(chunk, False, False)
        except _Caught as caught:
            return caught.values
        finally:
            handle.remove()
        raise RuntimeError(
            f"{type(view.module).__name__} calls other layers for some rows than for others, which "
            f"{view._owner} cannot follow."
        )


class _Caught(Exception):
    """Stops a pass where the deterministic part of the net ends."""

    def __init__(self, values):
        super().__init__("the pass ends here")
        self.values = values


class _Call:
    """What went into a module and came out: tensors, and how often they had been written to."""

    def __init__(self, module, position, args, kwargs):
        self.module, self.position = module, position
        single = len(args) == 1 and not kwargs and isinstance(args[0], torch.Tensor)
        self.got = (args[0], args[0]._version) if single else None

    def close(self, output, n_opened):
        self.end = n_opened
        output = first_output(output)
        self.gave = (output, getattr(output, "_version", None))


def _find_chain(view, masks, chunk):
    """Find the shortest chain that holds all dropout, by watching a pass of a few rows.

    Returns the chain, and the number of outputs per row.
    """
    few = _part(chunk, 0, _ROWS)
    whole = _Chain([view.module], whole=True)
    with masks.attached():
        calls, enclosing, outputs = _watched(view, masks, whole, few)
        for first in reversed(enclosing[1:]):
            chain = _chain_from(first, calls)
            if chain is None:
                continue
            inputs = first.before
            again = _one_pass(view, chain, masks, inputs, 0, False)["outputs"][: len(outputs)]
            # What modules hand on behind the scenes is not seen, but shows here.
            if torch.allclose(again, outputs, rtol=1e-4, atol=1e-6, equal_nan=True):
                return chain, outputs.shape[1]
    return whole, outputs.shape[1]


def _watched(view, masks, whole, few):
    """Run a pass and write down its calls, those around the first dropout, and the outputs."""
    calls, opened, enclosing = [], [], []

    def before(module, args, kwargs):
        calls.append(_Call(module, len(calls), args, kwargs))
        opened.append(calls[-1])
        if calls[-1].got is not None and not enclosing:
            # Later modules may write over it.
            calls[-1].before = calls[-1].got[0].clone()
        if module in masks.layers and not enclosing:
            enclosing.extend(opened)

    def after(module, args, output):
        opened.pop().close(output, len(calls))

    handles = []
    try:
        for module in view.module.modules():
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(module.register_forward_hook(after))
        found = _one_pass(view, whole, masks, few, 0, False)
    finally:
        for handle in handles:
            handle.remove()
    if not enclosing:
        raise ValueError(_no_dropout(view))
    return calls, enclosing, found["outputs"]


def _chain_from(first, calls):
    """The chain from a call to the end of the pass, or None."""
    if first.got is None:
        return None
    chain, last = [first], calls[0].gave
    while not _same(chain[-1].gave, last):
        current = chain[-1]
        following = (
            call
            for call in calls[current.end :]
            if call.got is not None and _same(call.got, current.gave)
        )
        chain.append(next(following, None))
        if chain[-1] is None:
            return None
    n_before = sum(call.module is first.module for call in calls[: first.position])
    return _Chain([call.module for call in chain], n_before)


def _same(one, other):
    return one[0] is other[0] and one[1] == other[1]


def _folded(chain, masks, n_passes, n_outputs):
    """All passes in one product, where dropout before a linear layer is all that is left; or None.

    Masks that all rows share can be applied to the weights in place of the rows.
    """
    if not masks.shared or [type(module) for module in chain.modules] != [nn.Dropout, nn.Linear]:
        return None
    dropout, linear = chain.modules
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in chain.modules)
    weight, bias = linear.weight, linear.bias
    if hooked or weight.numel() * n_passes > _KEPT:
        return None
    row = weight[:1]
    factors = torch.cat([masks.mask(dropout, row, t, 0) for t in range(n_passes)])
    weights = (factors[:, None, :] * weight).flatten(0, 1)
    shift = None if bias is None else bias.repeat(n_passes)
    return partial(_all_passes, weights, shift, n_outputs)


def _all_passes(weights, shift, n_outputs, inputs):
    outputs = torch.nn.functional.linear(padded(inputs), weights, shift)[: len(inputs)].float()
    return outputs.view(len(inputs), -1, n_outputs).transpose(0, 1)


# ---------------------------------------------------------------------- rows


def _part(chunk, a, b):
    if isinstance(chunk, Mapping):
        return {name: values[a:b] for name, values in chunk.items()}
    return chunk[a:b]


def _n_rows(chunk):
    return len(next(iter(chunk.values()))) if isinstance(chunk, Mapping) else len(chunk)


def _check_finite(view, outputs, start):
    bad = ~torch.isfinite(outputs).all(2).all(0)
    if bad.any():
        rows = torch.nonzero(bad).ravel() + start
        raise ValueError(
            f"The outputs of {type(view.net).__name__} with dropout are NaN or infinite for "
            f"{len(rows)} rows (first: {rows[:5].tolist()}). Look at these rows of X; if they are "
            "in order, the training has diverged: lower lr or scale the data, and fit again."
        )
