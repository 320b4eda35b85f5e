"""Class probabilities of skorch nets, from their outputs and logits, without loss of digits."""

import torch
from sklearn.base import is_regressor
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn
from torch.nn.functional import logsigmoid

from skal.neural_network._modules import log_softmax
from skal.neural_network._net import BaseNet


def needs_logits(net):
    """Whether the outputs of `net` are probabilities, whose logits keep more digits."""
    return isinstance(_criterion(net), (nn.NLLLoss, nn.BCELoss))


def log_probabilities(net, outputs, logits, owner):
    """Return the logarithms of class probabilities.

    Parameters
    ----------
    net : skorch.NeuralNet
        The fitted net; its criterion says what its outputs mean.

    outputs : tensor of shape (n, k)
        What the module returns.

    logits : tensor of shape (n, k) or None
        What its head returns, where that may differ and counts.

    owner : str
        Who asks, for the error.

    Returns
    -------
    log_P : tensor of shape (n, n_classes), dtype float64
        One column per class; two for a single sigmoid output.
    """
    criterion = _criterion(net)
    outputs = outputs.double()
    nonlinearity = getattr(net, "predict_nonlinearity", "auto")
    if callable(nonlinearity):
        return _log_of_probabilities(_two_columns(nonlinearity(outputs)), net, owner)
    if isinstance(criterion, nn.BCEWithLogitsLoss) or (
        isinstance(net, NeuralNetBinaryClassifier) and not isinstance(criterion, nn.BCELoss)
    ):
        return _log_sigmoid_columns(_single_column(outputs, net, owner))
    if isinstance(criterion, nn.BCELoss):
        p = _single_column(outputs, net, owner)
        if _agree(logits, p, torch.sigmoid):
            return _log_sigmoid_columns(logits.double())
        return _log_of_probabilities(_two_columns(p), net, owner)
    if isinstance(criterion, nn.NLLLoss):
        # skorch's classifiers take the logarithm of the outputs; its plain NeuralNet does not.
        if not isinstance(net, NeuralNetClassifier):
            return log_softmax(outputs)
        if _agree(logits, outputs, lambda z: torch.softmax(z, 1)):
            return log_softmax(logits.double())
        return _log_of_probabilities(outputs, net, owner)
    if isinstance(net, BaseNet) and hasattr(net, "_log_probabilities"):
        return net._log_probabilities(outputs)
    if isinstance(criterion, nn.CrossEntropyLoss):
        return log_softmax(outputs)
    if is_regressor(net):
        raise ValueError(
            f"{owner} needs class probabilities, and {type(net).__name__} is a regressor. Use a "
            "classifier, or a strategy that serves regression."
        )
    return _log_of_probabilities(outputs, net, owner)


def is_linked(logits, log_P):
    """Whether log-probabilities are those of logits by softmax, or of one logit by sigmoid."""
    logits = logits.double()
    if logits.shape[1:] == (1,) and log_P.shape[1:] == (2,):
        expected = _log_sigmoid_columns(logits)
    elif logits.shape == log_P.shape and log_P.ndim == 2:
        expected = log_softmax(logits)
    else:
        return False
    return torch.allclose(expected.exp(), log_P.exp(), rtol=1e-3, atol=1e-5)


def _criterion(net):
    criterion = net.criterion_
    return getattr(criterion, "_orig_mod", criterion)


def _agree(logits, probabilities, link):
    """Whether the probabilities are those of the logits, as far as float32 can tell."""
    if logits is None or logits.shape != probabilities.shape:
        return False
    return torch.allclose(link(logits.double()), probabilities, rtol=1e-3, atol=1e-5)


def _single_column(outputs, net, owner):
    if outputs.shape[1] != 1:
        raise ValueError(
            f"{owner} needs one probability distribution per row, and {type(net).__name__} gives "
            f"{outputs.shape[1]} independent ones (multi-label). Use one classifier per label."
        )
    return outputs


def _log_sigmoid_columns(z):
    return torch.cat([logsigmoid(-z), logsigmoid(z)], dim=1)


def _two_columns(p):
    p = p[:, None] if p.ndim == 1 else p
    return torch.cat([1.0 - p, p], dim=1) if p.shape[1] == 1 else p


def _log_of_probabilities(P, net, owner):
    """Logarithm of rows that are probabilities but for rounding, normalised."""
    if not ((P >= 0).all() and ((P.sum(1) - 1).abs() <= 1e-3).all()):
        raise ValueError(
            f"{owner} needs class probabilities, and the outputs of {type(net).__name__} are none: "
            f"they are not all positive with sum 1. With the criterion "
            f"{type(_criterion(net)).__name__}, pass a predict_nonlinearity that makes them so."
        )
    return (P / P.sum(1, keepdim=True)).log()
