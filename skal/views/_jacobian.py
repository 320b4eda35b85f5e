"""Derivatives of a net's outputs in its parameters, row by row."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from skal.neural_network._loader import padded
from skal.neural_network._net import first_output
from skal.utils._tables import n_rows
from skal.views._perturbation import _call_with, as_columns

_CHUNK_NUMBERS = 2**22  # held at once for a chunk of rows
_PROBE_ROWS = 32


class JacobianPart(NamedTuple):
    """Jacobians of a few rows in one parameter, flattened to a matrix of `n_inputs` columns.

    Outputs and the first dimension of the parameter make the L rows of the matrix, its other
    dimensions the M columns.

    Either `matrix` (n, L, M), or its factors: row i stands for ``outer(left[i], right[i])`` with
    `left` (n, L) and `right` (n, M). In float32.
    """

    left: torch.Tensor | None
    right: torch.Tensor | None
    matrix: torch.Tensor | None

    def dense(self):
        """The Jacobians as tensor (n, L, M)."""
        if self.matrix is not None:
            return self.matrix
        return self.left[:, :, None] * self.right[:, None, :]


class RowJacobians:
    """Jacobians of the outputs of a net in its parameters, a chunk of rows at a time.

    A linear layer z = W x + b that sees a row once has the derivative (dF/dz) x^T: two short
    vectors, got for all rows by one backward pass per output. All other parameters are
    differentiated row by row with ``torch.func``, vectorised where torch can.

    Parameters
    ----------
    view : NetView
        The net.

    X : array-like of shape (n_samples, n_features)
        Rows as the estimator takes them, or what `NetView.prepare` returned. The first few tell
        which layers are seen once.

    layer : str or None, default=None
        Only the parameters of this layer. None means all that are trained.

    function : callable or None, default=None
        Differentiate this function of the outputs instead: it gets a tensor (n, n_outputs) and
        returns one of shape (n, q), each row made of its own. One backward pass per column of it.

    Attributes
    ----------
    shapes : dict of str to tuple
        (L, M) of each parameter, in the order of ``named_parameters()``; see `JacobianPart`.

    n_outputs : int
        Number of outputs per row, or of values that `function` makes of them.
    """

    def __init__(self, view, X, layer=None, function=None):
        self.view, self.X, self._function = view, view.prepare(X), None
        self.parameters = {
            name: value
            for name, value in view.module.named_parameters()
            if value.requires_grad
            and value.is_floating_point()
            and (layer is None or name.rpartition(".")[0] == layer)
        }
        if not self.parameters:
            raise ValueError(
                f"{type(view.module).__name__} has no parameter that is trained"
                f"{'' if layer is None else f' in its layer {layer!r}'}: requires_grad is False "
                "for all. There is no gradient to represent rows by."
            )
        with view.evaluating():
            _, chunk = next(iter(view.batches(self.X)))
            # The outputs tell more of the layers than a function whose derivative may vanish.
            self._probe(_first_rows(chunk, _PROBE_ROWS))
            self._function = function
            self._measure(_first_rows(chunk, 2))

    @property
    def n_rows(self):
        """Number of rows."""
        return n_rows(self.X.X)

    @property
    def has_matrices(self):
        """Whether some parameter with several columns comes as a matrix, not as factors."""
        return any(self.shapes[name][1] > 1 for name in self._others)

    @property
    def n_columns(self):
        """Number of entries of the Jacobian of a row."""
        return sum(L * M for L, M in self.shapes.values())

    def map(self, function, n_numbers):
        """Apply a function to the Jacobians of a chunk of rows, and join the results.

        Parameters
        ----------
        function : callable
            Gets a dict of name to `JacobianPart` and returns a tensor with a row for each row.

        n_numbers : int
            How many numbers per row the function holds at once: decides how many rows are in a
            chunk.

        Returns
        -------
        values : tensor of shape (n_samples, ...)
            The joined results.
        """
        size = max(1, _CHUNK_NUMBERS // max(1, n_numbers + self._n_numbers))

        def applied(chunk):
            parts = [function(self._of_chunk(few)) for few in _split(chunk, size)]
            return torch.cat(parts)

        return self.view.map(applied, self.X)

    # ------------------------------------------------------------------ one chunk

    def _of_chunk(self, chunk):
        """Jacobians of the rows of a chunk by name of the parameter, in order."""
        found = {}
        if self._layers:
            n = _length(chunk)
            even = chunk if isinstance(chunk, Mapping) else padded(chunk)
            outputs, calls = self._forward(even)
            signals = _signals(outputs, [z for _, z in calls.values()])
            for (layer, (x, _)), signal in zip(calls.items(), signals, strict=True):
                left, right = signal[:n].flatten(1).float(), x[:n].float()
                weight, bias = _names(layer)
                found[weight] = JacobianPart(left, right, None)
                found[bias] = JacobianPart(None, None, left[:, :, None])
        if self._others:
            for name, value in self._row_by_row(chunk).items():
                L, M = self.shapes[name]
                found[name] = JacobianPart(None, None, value.reshape(-1, L, M).float())
        return {name: found[name] for name in self.parameters}

    def _forward(self, chunk):
        """Outputs (n, C), and input and output of the layers that run once, by name."""
        seen = {}
        handles = []
        try:
            for name in self._layers:
                hook = partial(_keep, seen.setdefault(name, []))
                handles.append(self.view._layers[name].register_forward_hook(hook))
            with torch.enable_grad():
                outputs = self._outputs(_call_with(self.view.module, {}, chunk))
        finally:
            for handle in handles:
                handle.remove()
        once = {
            name: calls[0]
            for name, calls in seen.items()
            if len(calls) == 1 and calls[0][0].ndim == 2 and len(calls[0][0]) == _length(chunk)
        }
        return outputs, once

    def _row_by_row(self, chunk):
        """Jacobians (n, C, *shape) of the other parameters."""
        if self._vectorized:
            own = {name: self.parameters[name].detach() for name in self._others}
            jacobian = torch.func.jacrev(self._of_one)
            return torch.func.vmap(jacobian, in_dims=(None, 0))(own, chunk)
        own = [self.parameters[name] for name in self._others]
        rows = []
        for k in range(_length(chunk)):
            with torch.enable_grad():
                outputs = self._of_one({}, _mapped(lambda values, k=k: values[k], chunk))[None]
            rows.append(_signals(outputs, own, shared=True))
        return dict(zip(self._others, map(torch.stack, zip(*rows, strict=True)), strict=True))

    def _of_one(self, parameters, row):
        """Outputs (C,) of one row with other parameters."""
        one = _mapped(lambda values: values[None], row)
        return self._outputs(_call_with(self.view.module, parameters, one))[0]

    def _outputs(self, outputs):
        """What is differentiated, (n, C)."""
        outputs = as_columns(first_output(outputs)).flatten(1)
        return outputs if self._function is None else self._function(outputs)

    # ------------------------------------------------------------------ which layers are simple

    def _probe(self, chunk):
        """Find the layers whose derivative is the product, by comparing the sums over rows."""
        owners = Counter(id(p) for m in self.view.module.modules() for p in m._parameters.values())
        wanted = {id(value) for value in self.parameters.values()}
        self._layers = [
            name
            for name, layer in self.view._layers.items()
            if isinstance(layer, nn.Linear)
            and {"weight", "bias"} <= set(layer._parameters)
            and id(layer.weight) in wanted
            and all(owners[id(p)] == 1 for p in layer.parameters())
        ]
        outputs, calls = self._forward(chunk)
        names, values = list(self.parameters), list(self.parameters.values())
        weights = torch.linspace(1.0, 2.0, outputs.shape[1]).to(outputs)
        with torch.enable_grad():
            total = (outputs * weights).sum()
        summed = torch.autograd.grad(
            total, values, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        summed = dict(zip(names, summed, strict=True))
        signals = _signals(outputs, [z for _, z in calls.values()])
        self._layers = [
            layer
            for (layer, (x, _)), signal in zip(calls.items(), signals, strict=True)
            if _agree(layer, x, (signal * weights[:, None]).sum(1), summed)
        ]
        simple = {name for layer in self._layers for name in _names(layer)}
        self._others = [name for name in names if name not in simple]

    def _measure(self, chunk):
        """Learn the sizes of the Jacobians, and whether torch can compute them for all rows."""
        outputs, calls = self._forward(chunk)
        self.n_outputs = outputs.shape[1]
        self.shapes = {}
        for name, value in self.parameters.items():
            first = value.shape[0] if value.ndim else 1
            self.shapes[name] = (self.n_outputs * first, value.numel() // max(1, first))
        through = sum(x.shape[1] + self.n_outputs * z.shape[1] for x, z in calls.values())
        apart = sum(L * M for L, M in (self.shapes[name] for name in self._others))
        self._n_numbers = 3 * through + 2 * apart
        self._vectorized = not self._others or self._can_vectorize(chunk)

    def _can_vectorize(self, chunk):
        """Whether torch can differentiate all rows at once."""
        if any(isinstance(layer, nn.RNNBase) for layer in self.view.module.modules()):
            return False  # slow, and torch.func leaves other weights in their private list
        self._vectorized = True
        try:
            self._row_by_row(chunk)
        except RuntimeError:
            return False  # what is wrong with the net itself is raised again, row by row
        return True


def _keep(calls, layer, args, output):
    """Forward hook: remember input and output; go on with a copy, which may be written over."""
    calls.append((args[0].detach(), output))
    return output.clone()


def _names(layer):
    """Names of the weight and the bias of a layer; that of the module itself is empty."""
    prefix = f"{layer}." if layer else ""
    return prefix + "weight", prefix + "bias"


@torch.enable_grad()
def _signals(outputs, tensors, *, shared=False):
    """Derivatives of the C outputs of each row in tensors (n, width): (n, C, width) each.

    With `shared` tensors of any shape, of one row: (C, *shape) each.
    """
    if not tensors:
        return []
    by_output = [
        torch.autograd.grad(
            column.sum(), tensors, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for column in outputs.T
    ]
    dim = 0 if shared else 1
    return [torch.stack(signal, dim=dim) for signal in zip(*by_output, strict=True)]


def _agree(layer, x, signal, summed):
    """Whether the derivatives of a layer are those of its one visible use."""
    for name, found in zip(_names(layer), (signal.T @ x, signal.sum(0)), strict=True):
        expected = summed.get(name)
        if expected is None:
            continue
        if (found - expected).abs().max() > 1e-3 * expected.abs().max():
            return False
    return True


def _mapped(function, chunk):
    if isinstance(chunk, Mapping):
        return {name: function(values) for name, values in chunk.items()}
    return function(chunk)


def _length(chunk):
    return len(next(iter(chunk.values()))) if isinstance(chunk, Mapping) else len(chunk)


def _first_rows(chunk, n):
    return _mapped(lambda values: values[:n], chunk)


def _split(chunk, n):
    for start in range(0, _length(chunk), n):
        yield _mapped(lambda values, a=start: values[a : a + n], chunk)
