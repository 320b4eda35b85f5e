"""How a strategy sees through an estimator to its net: features, logits, probabilities."""

from collections.abc import Mapping
from contextlib import contextmanager
from functools import partial
from math import prod

import numpy as np
import torch
from scipy import sparse
from torch import nn

from skal.neural_network._device import check_device
from skal.neural_network._loader import PreparedRows, padded, take_tensor
from skal.neural_network._net import CHUNK_VALUES, BaseNet, first_output, indexed, real
from skal.neural_network._seed import preserved_generators
from skal.utils._memory import keep_freed_memory
from skal.utils._tables import n_rows
from skal.views._copying import private_copy
from skal.views._finding import find_net
from skal.views._head import HeadMixin
from skal.views._opened import opened
from skal.views._perturbation import PerturbationMixin, as_columns, eval_flags
from skal.views._probabilities import log_probabilities, needs_logits

# Values per chunk on a CPU, for other nets and for convolutional ones: activations stay in the
# cache. GPUs: CHUNK_VALUES.
_CPU_VALUES, _IMAGE_VALUES = 2**18, 2**15


class NetView(HeadMixin, PerturbationMixin):
    """The torch module inside a fitted estimator, evaluated on rows as the estimator takes them.

    It applies the preprocessing in front of the net and streams the rows through a copy of its
    module in chunks, in evaluation mode. The estimator is never touched, so that other threads may
    predict with it meanwhile, and everything is left as it was: weights, buffers, train flags,
    hooks and torch's random generators.

    Parameters
    ----------
    estimator : estimator
        A fitted net of :mod:`skal.neural_network` or of skorch, however wrapped; see
        :func:`find_net`.

    device : str or None, default=None
        Where to evaluate. None is where the net is. The net stays where it is.

    batch_size : int or None, default=None
        Rows per chunk. None takes those of a training batch, or more: about 8 MB, or on a CPU
        1 MB (128 kB of images).

    layer : str or None, default=None
        The head: the layer whose input are the features, by its name in ``named_modules()``. None
        is the last ``nn.Linear`` that runs.

    needed_by : str or None, default=None
        Who looks, for errors.

    Attributes
    ----------
    net : skorch.NeuralNet
        The net found.

    module : torch.nn.Module
        A copy of its module as it was when the view was made, on `device`.

    device : torch.device
        Where it is evaluated.

    transformers : list
        The preprocessing in front of the net.

    Raises
    ------
    TypeError
        If there is no net at the end of the estimator.

    See Also
    --------
    find_net : Only finds the net.

    Notes
    -----
    Outputs are in the units the net was trained on: of the transformed target inside
    ``TransformedTargetRegressor``, standard deviations with ``standardize_y=True``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skal.neural_network import NeuralNetClassifier
    >>> from skal.views import NetView
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NeuralNetClassifier(module__hidden=(16,), max_epochs=2, random_state=0)
    >>> view = NetView(make_pipeline(StandardScaler(), net).fit(X, y))
    >>> view.features(X).shape, view.logits(X).shape
    (torch.Size([150, 16]), torch.Size([150, 3]))
    """

    def __init__(self, estimator, *, device=None, batch_size=None, layer=None, needed_by=None):
        self._owner = needed_by or type(self).__name__
        self.transformers, self.net = find_net(estimator, needed_by=self._owner)
        module = opened(private_copy(self.net.module_))
        if device is None:
            self.device = _device_of(module)
        else:
            self.device = indexed(check_device(device, self._owner, purpose="compute"))
        self.module = module.to(self.device)
        self.batch_size = batch_size
        self._layers = dict(self.module.named_modules())
        if layer is not None and layer not in self._layers:
            raise ValueError(
                f"'layer' of {self._owner} must name a layer of {type(self.module).__name__}, one "
                f"of {[name for name in self._layers if name]}. Got {layer!r} instead."
            )
        self._layer = layer
        self._head_name = layer
        self._sizes = None

    # ------------------------------------------------------------------ numbers per row

    def features(self, X):
        """Compute the input of the head.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        H : tensor of shape (n_samples, d), dtype float32
            Penultimate features, on `device`.
        """
        return self._pass(X, ("features",))[0]

    def logits(self, X):
        """Compute the output of the head.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        Z : tensor of shape (n_samples, n_outputs), dtype float32
            What the head returns, on `device`.
        """
        return self._pass(X, ("logits",))[0]

    def features_and_logits(self, X):
        """Compute the input and the output of the head in one pass.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        H, Z : tensors of shape (n_samples, d) and (n_samples, n_outputs), dtype float32
            Penultimate features, and what the head makes of them.
        """
        return self._pass(X, ("features", "logits"))

    def outputs(self, X):
        """Compute what the module returns; its first output if there are several.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        F : tensor of shape (n_samples, n_outputs) or (n_samples, n_outputs, ...), dtype float32
            The outputs, on `device`; float64 where the module computes in it.
        """
        return self._pass(X, ("outputs",))[0]

    def log_probabilities(self, X):
        """Compute the logarithms of the class probabilities, from logits where there are any.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        log_P : tensor of shape (n_samples, n_classes) or (n_samples, n_classes, ...), float64
            Natural logarithms, in the order of the net's classes; a single sigmoid output gives two
            columns. Of nets that answer for each pixel, at each.

        Raises
        ------
        ValueError
            If the net is no classifier.
        """
        if needs_logits(self.net):
            outputs, logits = self._pass(X, ("outputs", "logits"), head_required=False)
        else:
            outputs, logits = self.outputs(X), None
        return log_probabilities(self.net, outputs, logits, self._owner)

    def probabilities(self, X):
        """Compute the class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        P : tensor of shape (n_samples, n_classes), dtype float64
            Rows sum to 1.
        """
        return self.log_probabilities(X).exp_()

    def features_and_log_probabilities(self, X):
        """Compute penultimate features and the logarithms of class probabilities in one pass.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        H : tensor of shape (n_samples, d), dtype float32
            Penultimate features.

        log_P : tensor of shape (n_samples, n_classes), dtype float64
            As from `log_probabilities`.
        """
        H, outputs, logits = self._pass(X, ("features", "outputs", "logits"))
        return H, log_probabilities(self.net, outputs, logits, self._owner)

    def observe(self, X, quantity):
        """Compute one of the quantities by name.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them, or what `prepare` returned.

        quantity : {"features", "logits", "outputs", "probabilities"}
            Which.

        Returns
        -------
        Z : tensor of shape (n_samples, q)
            float64 for probabilities, else float32. Values for several positions of a row (pixels)
            are joined.
        """
        return getattr(self, quantity)(X).flatten(1)

    def map(self, function, X):
        """Apply a function to chunks of preprocessed rows and join the results.

        Parameters
        ----------
        function : callable
            Gets a chunk of inputs on `device` (a tensor, or a dict of them), and returns a tensor
            with a row for each, or a tuple of such tensors. Runs in evaluation mode without
            gradients; ``torch.enable_grad`` and ``torch.func`` turn them on inside.

        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        values : tensor of shape (n_samples, ...), or tuple of tensors
            The joined results.
        """
        several = True
        joined = []
        with self.evaluating(), torch.no_grad():
            for rows, chunk in self.batches(X):
                parts = function(chunk)
                several = isinstance(parts, tuple)
                joined = _store(joined, parts if several else (parts,), rows, self._n_rows)
        return tuple(joined) if several else joined[0]

    # ------------------------------------------------------------------ the module

    @property
    def head(self):
        """The layer whose input are the features: the last ``nn.Linear`` that runs."""
        self._probe()
        return self._layers[self._head_name]

    @property
    def head_name(self):
        """Name of the head in ``named_modules()``."""
        self._probe()
        return self._head_name

    @property
    def n_features_(self):
        """Number of penultimate features, d."""
        self._probe()
        return self._sizes["features"]

    @property
    def n_outputs(self):
        """Number of values that the module returns per row."""
        if self._sizes is None and hasattr(self.net, "n_outputs_"):
            return self.net.n_outputs_
        self._probe()
        return self._sizes["outputs"]

    @contextmanager
    def evaluating(self):
        """Put the module into evaluation mode, and everything back at the end.

        Restores train flags, parameters, buffers and torch's random generators, also after an
        error; switches autocasting off.

        Yields
        ------
        None
            The module of the view is in evaluation mode.
        """
        keep_freed_memory()
        state = [(t, t.detach().clone()) for t in _tensors(self.module)]
        autocast = torch.autocast(self.device.type, enabled=False)
        with preserved_generators(), autocast, eval_flags(self.module):
            try:
                with _fast_convolutions(self.module, self.device):
                    yield
            finally:
                with torch.no_grad():
                    for tensor, before in state:
                        if not torch.equal(tensor, before):
                            tensor.copy_(before)

    # ------------------------------------------------------------------ streaming

    def prepare(self, X):
        """Preprocess rows once, for several passes over them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        prepared : object
            To be given to the other methods in place of `X`.
        """
        if isinstance(X, PreparedRows):
            return X
        for transformer in self.transformers:
            X = transformer.transform(X)
        if isinstance(self.net, BaseNet):
            if isinstance(X, np.ndarray) and X.ndim > 1:
                # Checked and cast chunk by chunk: a memory map is never copied whole.
                cast = partial(np.asarray, dtype=self.net._row_dtype)
                return PreparedRows(X, self.net._validate_rows, cast)
            X = self.net._validate_rows(X)
        elif not isinstance(X, (np.ndarray, torch.Tensor, Mapping)) and not sparse.issparse(X):
            X = np.asarray(X)
        return PreparedRows(X, _same, _same)

    def batches(self, X):
        """Iterate over the inputs of the module in chunks, in order.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them, or what `prepare` returned.

        Yields
        ------
        rows : slice
            Positions in `X`.

        chunk : tensor or dict of tensors
            What the module is called with, on `device`.
        """
        prepared = self.prepare(X)
        self._n_rows = n = n_rows(prepared.X)
        if n == 0:
            raise ValueError(f"X has 0 sample(s); {self._owner} needs at least one row.")
        size = self.batch_size or self._chunk_size(prepared.X)
        # Weights say what the module computes in; integers stay (they are looked up).
        weight = next(self.module.parameters(), None)
        dtype = weight.dtype if weight is not None and weight.is_floating_point() else None
        for start in range(0, n, size):
            rows = slice(start, min(start + size, n))
            yield rows, self._to_device(prepared.X, rows, prepared.check, dtype)
        prepared.check = prepared.cast  # each chunk has been checked once

    def _chunk_size(self, X):
        parts = X.values() if isinstance(X, Mapping) else [X]
        n_values = sum(prod(part.shape[1:]) for part in parts)
        trained = self.net.batch_size if isinstance(self.net.batch_size, int) else 1
        values = CHUNK_VALUES
        if self.device.type == "cpu":
            values = _IMAGE_VALUES if self._convolves else _CPU_VALUES
        return max(trained, 16, min(8192, values // max(1, n_values)) // 16 * 16)

    @property
    def _convolves(self):
        return any(isinstance(layer, nn.Conv2d) for layer in self._layers.values())

    def _to_device(self, X, rows, check, dtype):
        if isinstance(X, Mapping):
            return {name: self._to_device(part, rows, check, dtype) for name, part in X.items()}
        tensor = take_tensor(check(X[rows]), slice(None))
        return tensor.to(self.device, dtype if tensor.is_floating_point() else None)

    # ------------------------------------------------------------------ passes with hooks

    def _pass(self, X, wanted, *, head_required=True):
        """Run the rows through the module and return the `wanted` of each, checked."""
        hooked = wanted != ("outputs",)
        joined = []
        with self.evaluating(), torch.no_grad():
            for rows, chunk in self.batches(X):
                found = self._forward(chunk, hooked, head_required)
                if found.get(wanted[-1]) is None:
                    wanted = tuple(name for name in wanted if found.get(name) is not None)
                    hooked = False
                joined = _store(joined, [found[name] for name in wanted], rows, self._n_rows)
        for name, values in zip(wanted, joined, strict=True):
            self._check_finite(name, values)
        if not head_required and len(joined) == 1:
            joined.append(None)
        return tuple(joined)

    def _forward(self, chunk, hooked, head_required, call=None):
        """Call the module on a chunk: a dict of its outputs, features and logits."""
        call = call or partial(_call, self.module)
        calls, handles = [], []
        names = self._linear_names() if self._head_name is None else [self._head_name]
        try:
            for name in names if hooked else []:
                hook = partial(_record, calls, name)
                handles.append(self._layers[name].register_forward_hook(hook, with_kwargs=True))
            even, first_rows = _evened(chunk)
            outputs = first_rows(_rowwise(call(even)))
        finally:
            for handle in handles:
                handle.remove()
        if not hooked:
            return {"outputs": outputs}
        calls = [(name, first_rows(H), first_rows(Z)) for name, H, Z in calls[-1:]]
        if not calls or not self._leads_to_outputs(calls[-1], outputs):
            if head_required:
                raise ValueError(self._no_head(calls, outputs))
            return {"outputs": outputs}
        name, features, logits = calls[-1]
        found = {"outputs": outputs, "features": _flat(features), "logits": _flat(logits)}
        self._head_name = name
        self._sizes = {part: values.shape[1] for part, values in found.items()}
        return found

    def _leads_to_outputs(self, call, outputs):
        """Whether a layer has a row for each row, and (unless named) as many values as the module.

        The sizes are all there is to tell: what happens after the layer cannot be seen.
        """
        _, features, logits = call
        if features.shape[0] != len(outputs) or logits.shape[0] != len(outputs):
            return False
        return self._layer is not None or prod(logits.shape[1:]) == prod(outputs.shape[1:])

    def _no_head(self, calls, outputs):
        module = type(self.module).__name__
        if self._layer is not None:
            if not calls:
                return f"The layer {self._layer!r} of {module} does not run. Name another layer."
            shape = tuple(calls[-1][1].shape)
            return (
                f"The layer {self._layer!r} of {module} gets an input of shape {shape} for "
                f"{len(outputs)} rows. Name a layer that gets one row for each: layer=<name>."
            )
        others = [name for name in self._layers if name]
        remedy = f"Name the layer whose input are the features: layer=<name>, one of {others}."
        if not calls:
            return f"{self._owner} found no nn.Linear that runs in {module}. {remedy}"
        name, _, logits = calls[-1]
        return (
            f"The last nn.Linear that runs in {module} is {name!r}, with output of shape "
            f"{tuple(logits.shape)}, and does not lead to the module's output of shape "
            f"{tuple(outputs.shape)}. {remedy}"
        )

    def _linear_names(self):
        return [name for name, layer in self._layers.items() if isinstance(layer, nn.Linear)]

    def _probe(self):
        """Learn head and sizes from a pass of zeros, where no pass has been made yet."""
        if self._sizes is not None:
            return
        shape = getattr(self.net, "_row_shape", None)
        if shape is None:
            # Of a foreign net, only that its first layer is linear tells the size of a row.
            first = next((m for m in self.module.modules() if not list(m.children())), None)
            if not isinstance(first, nn.Linear):
                raise AttributeError(
                    f"The head of {type(self.module).__name__} is known after the first pass of "
                    "rows: call features(X) first."
                )
            shape = (first.in_features,)
        weight = next(self.module.parameters())
        zeros = torch.zeros((2, *shape), device=self.device, dtype=weight.dtype)
        with self.evaluating(), torch.no_grad():
            self._forward(zeros, True, True)

    def _check_finite(self, name, values):
        if torch.isfinite(values.sum()):
            return
        bad = ~torch.isfinite(values.flatten(1)).all(1)
        if bad.any():
            rows = torch.nonzero(bad).ravel().tolist()
            first = ", ".join(str(row) for row in rows[:5])
            more = ", ..." if len(rows) > 5 else ""
            raise ValueError(
                f"The {name} of {type(self.net).__name__} are NaN or infinite for {len(rows)} of "
                f"{len(values)} rows (rows {first}{more}). Look at these rows of X; if they are in "
                "order, the training has diverged: lower lr or scale the data, and fit again."
            )


def _record(calls, name, layer, args, kwargs, output):
    """Forward hook: remember what went into a layer and what came out."""
    features = args[0] if args else next(iter(kwargs.values()))
    # A copy: what follows may write over the output.
    calls.append((name, features, first_output(output).clone()))


def _evened(chunk):
    """Return a chunk padded to an even number of rows, and what cuts results to its own rows."""
    if isinstance(chunk, Mapping):
        return chunk, _same
    even = padded(chunk)

    def first_rows(values):
        return values[: len(chunk)] if len(values) == len(even) else values

    return even, first_rows


def _call(module, chunk):
    return module(**chunk) if isinstance(chunk, Mapping) else module(chunk)


def _rowwise(outputs):
    return real(as_columns(first_output(outputs)))


def _flat(values):
    return real(as_columns(values).flatten(1))


def _same(values):
    return values


def _store(joined, parts, rows, n):
    """Write a chunk of results into tensors for all rows, made at the first chunk."""
    if not joined:
        joined = [part.new_empty((n, *part.shape[1:])) for part in parts]
    for whole, part in zip(joined, parts, strict=True):
        whole[rows] = part
    return joined


@contextmanager
def _fast_convolutions(module, device):
    """Lay out the weights of image convolutions by channels for a while: faster on CPUs."""
    weights = []
    if device.type == "cpu":
        layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
        weights = [layer._parameters.get("weight") for layer in layers]
    before = [(weight, weight.data) for weight in weights if weight is not None]
    try:
        for weight, data in before:
            weight.data = data.to(memory_format=torch.channels_last)  # also with one channel
        yield
    finally:
        for weight, data in before:
            weight.data = data


def _device_of(module):
    return next((tensor.device for tensor in _tensors(module)), torch.device("cpu"))


def _tensors(module):
    yield from module.parameters()
    yield from module.buffers()
