"""A layer that stands for who answers: it turns class probabilities into those of noisy labels."""

import numpy as np
import torch
from torch import nn

# A softmax cannot start at 0: columns that hold a zero spread this share evenly over the other
# classes.
_SOFTMAX_NOISE = 0.05

# How far from 1 the sum of a given column may be.
_SUM_TOLERANCE = 1e-4


class NoiseChannelLayer(nn.Module):
    """A trainable channel from true labels to noisy ones, at the end of a classifier.

    It takes *probabilities* p of the classes, never logits, and returns those of the labels that a
    noisy annotator gives, p' = W p. Column j of W says how class j is labelled: W[i, j] is the
    probability of answer i where class j is true.

    Parameters
    ----------
    n_classes : int
        Number of classes, K.

    channel : array-like of shape (n_classes, n_classes) or None, default=None
        Where W starts: entries of at least 0, columns that sum to 1. None is the identity, labels
        without faults.

    update : {"euclidean", "softmax", "paper"}, default="euclidean"
        How the columns stay distributions, see :class:`NoisyChannelClassifier`. "euclidean" and
        "paper" train the entries, which `constrain_` puts back onto the simplex after each step;
        "softmax" trains logarithms, whose column softmax is W, and starts with no zeros.

    trainable : bool, default=True
        Whether W is trained. False keeps it at `channel`, exactly, whatever `update` is.

    Attributes
    ----------
    weight : nn.Parameter of shape (n_classes, n_classes)
        W, or with a trained "softmax" its logarithms up to a constant per column.

    floor : float
        What to add to p' before its logarithm is taken: 1e-6, or 0 with a trained "softmax", whose
        p' is never 0. A floor that is added leaves p' = 0 a gradient, where a maximum would not.

    See Also
    --------
    NoisyChannelClassifier : Trains a net and this layer together.

    Examples
    --------
    >>> import torch
    >>> from skal.neural_network import NoiseChannelLayer
    >>> layer = NoiseChannelLayer(2, channel=[[0.9, 0.2], [0.1, 0.8]])
    >>> layer(torch.tensor([[1.0, 0.0]])).detach()
    tensor([[0.9000, 0.1000]])
    """

    def __init__(self, n_classes, *, channel=None, update="euclidean", trainable=True):
        super().__init__()
        if update not in ("euclidean", "softmax", "paper"):
            raise ValueError(
                "The 'update' parameter of NoiseChannelLayer must be 'euclidean', 'softmax' or "
                f"'paper'. Got {update!r} instead."
            )
        W = check_channel(channel, n_classes)
        self.update = update
        self._is_softmax = update == "softmax" and trainable
        if self._is_softmax:
            W = _without_zeros(W).log()
        self.weight = nn.Parameter(W.to(torch.get_default_dtype()), requires_grad=trainable)
        self.floor = 0.0 if self._is_softmax else 1e-6

    def matrix(self):
        """Return the channel.

        Returns
        -------
        W : tensor of shape (n_classes, n_classes)
            Differentiable; columns sum to 1.
        """
        return torch.softmax(self.weight, 0) if self._is_softmax else self.weight

    def forward(self, P):
        """Map probabilities of classes to those of noisy labels.

        Parameters
        ----------
        P : tensor of shape (n, n_classes)
            Probabilities, not logits.

        Returns
        -------
        noisy : tensor of shape (n, n_classes)
            P W^T.
        """
        return P @ self.matrix().T

    @torch.no_grad()
    def constrain_(self):
        """Make every column of W a distribution again, after a step of an optimiser."""
        if self._is_softmax:
            return
        if self.update == "euclidean":
            self.weight.copy_(project_columns(self.weight.double()))
        else:
            self.weight.copy_(_renormalised(self.weight.double()))


def project_columns(V):
    """Project every column of a matrix onto the simplex, in the Euclidean sense.

    Parameters
    ----------
    V : tensor of shape (k, m), dtype float64
        Any finite values.

    Returns
    -------
    W : tensor of shape (k, m), dtype float64
        The nearest columns with entries of at least 0 and sum 1: max(v - t, 0), where t makes the
        sum right. O(m k log k).
    """
    descending = V.sort(dim=0, descending=True).values
    counts = torch.arange(1, len(V) + 1, dtype=V.dtype, device=V.device)[:, None]
    thresholds = (descending.cumsum(0) - 1.0) / counts
    n_positive = (descending > thresholds).sum(0, keepdim=True)
    return (V - thresholds.gather(0, n_positive - 1)).clamp(min=0.0)


def _renormalised(V):
    """Clamp at 0 and divide by the sums; a column of zeros becomes that of a faultless answer."""
    V = V.clamp(min=0.0)
    sums = V.sum(0)
    faultless = torch.eye(len(V), dtype=V.dtype, device=V.device)
    return torch.where(sums > 0, V / sums.clamp(min=torch.finfo(V.dtype).tiny), faultless)


def _without_zeros(W):
    """Move a little of a column with zeros to its other entries."""
    n_classes = len(W)
    if n_classes == 1:
        return W
    others = (1.0 - torch.eye(n_classes, dtype=W.dtype)) / (n_classes - 1)
    mixed = (1.0 - _SOFTMAX_NOISE) * W + _SOFTMAX_NOISE * others @ W
    return torch.where((W == 0).any(0), mixed, W)


def check_channel(channel, n_classes, owner="NoiseChannelLayer"):
    """Return a channel as a float64 tensor (n_classes, n_classes), the identity for None.

    Raises
    ------
    ValueError
        If it has another shape, or a column that is no distribution.
    """
    if channel is None:
        return torch.eye(n_classes, dtype=torch.float64)
    if not isinstance(channel, torch.Tensor):
        channel = torch.as_tensor(np.array(channel, dtype=np.float64))
    W = channel.detach().cpu().double()
    what = f"The 'channel' parameter of {owner} must"
    if W.shape != (n_classes, n_classes):
        raise ValueError(
            f"{what} have shape {(n_classes, n_classes)}, a row and a column per class. Got shape "
            f"{tuple(W.shape)} instead."
        )
    if not (W >= 0).all() or not torch.isfinite(W).all():
        raise ValueError(
            f"{what} hold probabilities. Got values from {W.min():g} to {W.max():g} instead."
        )
    off = W.sum(0) - 1
    if off.abs().max() > _SUM_TOLERANCE:
        wrong = 1 + off[off.abs().argmax()]
        transposed = (W.sum(1) - 1).abs().max() <= _SUM_TOLERANCE
        hint = " Its rows sum to 1: pass the transpose." if transposed else ""
        raise ValueError(
            f"{what} have columns that sum to 1: column j holds the probabilities of the answers "
            f"where class j is true. Got a column with sum {wrong:g} instead.{hint}"
        )
    return W / W.sum(0)
