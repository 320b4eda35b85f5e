"""Gradients in the last layer of a net, and whether they are what formulas take them for."""

import torch
from torch import nn

from skal.neural_network._loader import PreparedRows
from skal.neural_network._net import first_output, real
from skal.utils._tables import take_rows
from skal.views._perturbation import _call_with, as_columns
from skal.views._probabilities import is_linked, log_probabilities


class HeadMixin:
    """What a view of a net offers to those who differentiate in its last layer."""

    def last_layer(self, X):
        """Compute inputs of the last layer and log-probabilities, for gradients in that layer.

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

        Raises
        ------
        ValueError
            If the probabilities are not the softmax (or sigmoid) of what the last layer returns:
            then p - e_y is no gradient in its logits.
        """
        H, log_P, linked = self.linked_last_layer(X)
        if not linked:
            raise ValueError(
                f"{self._owner} takes gradients in the last layer of a net, and in "
                f"{type(self.module).__name__} something changes what its last nn.Linear, "
                f"{self.head_name!r}, returns: the probabilities are not its softmax. Let the "
                "module end in an nn.Linear, or use a strategy that differentiates the whole net, "
                "GradNorm(params='all') or BADGE, or one that needs only probabilities."
            )
        return H, log_P

    def linked_last_layer(self, X):
        """Return `features_and_log_probabilities`, and whether the latter are those of the layer.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        H, log_P : tensors
            As from `features_and_log_probabilities`.

        linked : bool
            Whether the head is an ``nn.Linear``, and the probabilities are the softmax (or sigmoid)
            of what it returns.
        """
        H, outputs, logits = self._pass(X, ("features", "outputs", "logits"))
        log_P = log_probabilities(self.net, outputs, logits, self._owner)
        return H, log_P, isinstance(self.head, nn.Linear) and is_linked(logits, log_P)

    def logit_gradients(self, X):
        """Differentiate the loss of the predicted class in what the last layer returns.

        Exact whatever follows the layer, by a backward pass from the loss to its output.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the estimator takes them.

        Returns
        -------
        H : tensor of shape (n_samples, d), dtype float32
            Inputs of the layer.

        A : tensor of shape (n_samples, k), dtype float64
            Gradients in its outputs. That in its weights is ``outer(A[i], H[i])``.

        Raises
        ------
        ValueError
            If the layer is no ``nn.Linear``, or does not see each row once.
        """
        self._pass(self._one_row(X), ("features",))  # names the head
        return self.map(self._differentiate_logits, X)

    def _one_row(self, X):
        prepared = self.prepare(X)
        return PreparedRows(take_rows(prepared.X, [0]), prepared.check, prepared.cast)

    def _differentiate_logits(self, chunk):
        seen = []

        def cut(layer, args, kwargs, output):
            features = args[0] if args else next(iter(kwargs.values()))
            seen.append((features.detach(), output.detach().requires_grad_()))
            return seen[-1][1]

        handle = self.head.register_forward_hook(cut, with_kwargs=True)
        try:
            with torch.enable_grad():
                outputs = _call_with(self.module, {}, chunk)
                log_P = log_probabilities(
                    self.net, as_columns(first_output(outputs)), None, self._owner
                )
                loss = -log_P.amax(1).sum()
        finally:
            handle.remove()
        n = len(log_P)
        if len(seen) != 1 or seen[0][0].ndim != 2 or len(seen[0][0]) != n:
            raise ValueError(
                f"{self._owner} takes gradients in a layer that sees each row once, and "
                f"{self.head_name!r} of {type(self.module).__name__} does not. End the "
                "module with a linear layer, or use a strategy that needs only probabilities."
            )
        ((features, logits),) = seen
        (gradient,) = torch.autograd.grad(loss, logits)
        return real(as_columns(features)), gradient.double()
