"""Curvature of the cross-entropy in all weights of a net, by products only."""

import copy

import torch

from skal.utils._tables import n_rows
from skal.views._layer_curvature import LISSA_SCALE, conjugate_gradients, lissa
from skal.views._probabilities import log_probabilities


class NetCurvature:
    r"""Gauss-Newton matrix of the mean cross-entropy in the weights of a net, plus a ridge.

    .. math:: A = \frac{1}{m} \sum_i J_i^\top \operatorname{diag}(p_i) J_i + r 1,

    with :math:`J_i` the Jacobian of the log-probabilities of row i: in logits, the same as
    :math:`J^\top (\operatorname{diag}(p) - p p^\top) J`. It is positive definite, does not depend
    on labels, and is never formed: a product is one forward-mode and one backward pass over the
    rows, in float64.

    Parameters
    ----------
    view : NetView
        The net.

    X : array-like of shape (m, n_features)
        The labelled rows, as the estimator takes them.

    ridge : float
        r, above 0.

    owner : str
        Who asks, for errors.
    """

    def __init__(self, view, X, ridge, owner):
        if any(isinstance(layer, torch.nn.RNNBase) for layer in view.module.modules()):
            raise ValueError(
                f"{owner} cannot differentiate {type(view.module).__name__}, which has recurrent "
                "layers, along a direction. Use params='last'."
            )
        self.view, self.ridge, self.owner = _in_double(view), ridge, owner
        self.X = self.view.prepare(X)
        self.parameters = {
            name: value.detach()
            for name, value in self.view.module.named_parameters()
            if value.requires_grad
        }

    def product(self, V):
        """Return A V for a vector `V` of all weights."""
        direction, total = self._parts(V), torch.zeros_like(V)
        for chunk in self._chunks(self.X):
            log_P, U = torch.func.jvp(self._of(chunk), (self.parameters,), (direction,))
            total += self._pulled_back(chunk, log_P.exp() * U)
        return total / n_rows(self.X.X) + self.ridge * V

    def gradient(self, X):
        """Gradient of the mean loss of rows under their most likely class, as one vector."""
        X, total = self.view.prepare(X), 0.0
        for chunk in self._chunks(X):
            log_P = self._of(chunk)(self.parameters)
            predicted = log_P.argmax(1, keepdim=True)
            cotangent = torch.zeros_like(log_P).scatter_(1, predicted, -1.0)
            total = total + self._pulled_back(chunk, cotangent)
        return total / n_rows(X.X)

    def solve(self, V, solver="exact", *, tol=1e-8, max_iter=1000):
        """Return A^-1 V by conjugate gradients to a relative residual `tol`, or by LiSSA."""
        if solver == "exact":
            return conjugate_gradients(
                self.product, V, tol=tol, max_iter=max_iter, owner=self.owner
            )
        bare = lissa(lambda S: self.product(S) - self.ridge * S, V, scale=LISSA_SCALE)
        return bare / LISSA_SCALE

    def directional(self, X, S):
        """Derivatives of the log-probabilities of rows along a vector of weights: (n, K)."""
        direction = self._parts(S)
        parts = [
            torch.func.jvp(self._of(chunk), (self.parameters,), (direction,))[1]
            for chunk in self._chunks(self.view.prepare(X))
        ]
        return torch.cat(parts)

    # ------------------------------------------------------------------ plumbing

    def _of(self, chunk):
        """The log-probabilities of a chunk as a function of the weights."""

        def log_P(parameters):
            outputs = self.view.functional(parameters, chunk)
            return log_probabilities(self.view.net, outputs, None, self.owner)

        return log_P

    def _pulled_back(self, chunk, cotangent):
        gradients = torch.func.vjp(self._of(chunk), self.parameters)[1](cotangent)[0]
        return torch.cat([gradients[name].flatten() for name in self.parameters])

    def _parts(self, V):
        sizes = [value.numel() for value in self.parameters.values()]
        parts = zip(self.parameters.items(), V.split(sizes), strict=True)
        return {name: part.view_as(value) for (name, value), part in parts}

    def _chunks(self, X):
        with self.view.evaluating(), torch.no_grad():
            for _, chunk in self.view.batches(X):
                yield chunk


def _in_double(view):
    """The same view of a float64 copy of its module."""
    twin = copy.copy(view)
    twin.module = copy.deepcopy(view.module).double()
    twin._layers = dict(twin.module.named_modules())
    return twin
