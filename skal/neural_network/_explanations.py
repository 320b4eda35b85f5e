"""What goes wrong in the training of a net of this package, in words that say what to do."""

import warnings

import torch
from torch import nn


def explain(net, error, n_rows):
    """Explain an error that came out of a training, or return None.

    Parameters
    ----------
    net : BaseNet
        What was trained.

    error : Exception
        What came out of skorch, torch or scikit-learn.

    n_rows : int
        Rows there were.

    Returns
    -------
    message : str or None
        The explanation, None where the error is not known or speaks for itself.
    """
    name, text = type(net).__name__, str(error)
    if "valid_loss" in text and net.train_split is None:
        return (
            f"A callback of {name} watches 'valid_loss', and there is no validation data: "
            "train_split=None. Let it watch monitor='train_loss' (of a Checkpoint: "
            "'train_loss_best'), or hold rows back with train_split=ValidSplit(5)."
        )
    if net.train_split is not None and ("n_splits=" in text or "test_size" in text):
        return (
            f"The 'train_split' parameter of {name} holds rows back for validation, and {n_rows} "
            f"labelled rows are too few for it ({text.rstrip('.')}). Pass train_split=None, or "
            "label more rows first."
        )
    if "Expected more than 1 value per channel when training" in text:
        return (
            f"Batch normalisation cannot train on a batch of one row, and {name} got {n_rows} "
            "labelled row(s). Label another row, or leave it out (module__batch_norm=False)."
        )
    return None


def check_first_outputs(net, outputs):
    """Notice, in the first batch of a training, that outputs are not what the loss takes them for.

    Raises
    ------
    ValueError
        If the criterion is ``NLLLoss``, which takes outputs as probabilities, and they are none.

    Warns
    -----
    UserWarning
        If they are probabilities, and the criterion is ``CrossEntropyLoss``.
    """
    criterion, name = net.criterion_, type(net).__name__
    if isinstance(criterion, nn.CrossEntropyLoss) and are_probabilities(outputs):
        warn_of_softmax(name)
    if isinstance(criterion, nn.NLLLoss) and not are_probabilities(outputs):
        low, high = float(outputs.detach().min()), float(outputs.detach().max())
        raise ValueError(
            f"{name} takes the outputs of its module as probabilities with the criterion NLLLoss, "
            f"as skorch does, and they are none: values from {low:.3g} to {high:.3g}. Let the "
            "module end in a softmax, or return logits and use criterion=torch.nn.CrossEntropyLoss."
        )


def warn_of_softmax(name):
    """Warn that probabilities are taken for logits."""
    warnings.warn(
        f"The module of {name} returns probabilities, and its criterion, CrossEntropyLoss, takes "
        "them for logits: a softmax of a softmax learns slowly and never becomes sure. Return "
        "logits, or use criterion=torch.nn.NLLLoss, which takes probabilities.",
        UserWarning,
        stacklevel=2,
    )


@torch.no_grad()
def are_probabilities(outputs):
    """Whether rows of outputs (n, k, ...) are not negative and sum to 1 along k."""
    if outputs.ndim < 2 or outputs.shape[1] < 2 or not outputs.is_floating_point():
        return False
    sums = outputs.double().sum(1)
    return bool((outputs >= 0).all() and ((sums - 1).abs() <= 1e-3).all())


def does_not_fit(net, outputs, target, error):
    """Say that a criterion could not compare outputs with targets."""
    criterion = type(net.criterion_).__name__
    return (
        f"The criterion {criterion} of {type(net).__name__} could not compare outputs of shape "
        f"{tuple(outputs.shape)} with targets of shape {tuple(target.shape)} and dtype "
        f"{str(target.dtype).removeprefix('torch.')}. {net._fitting_criterion()} "
        f"({str(error).splitlines()[0]})"
    )
