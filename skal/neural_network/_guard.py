"""Plain skorch nets inside a learner: their silent habits, caught before or while they train.

Nets of :mod:`skal.neural_network` need none of this, and other estimators are left alone.
"""

import warnings

import numpy as np
import skorch
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit

from skal.neural_network._net import BaseNet

_OURS = "skal.neural_network"


class InterruptGuard(Callback):
    """Pass on a KeyboardInterrupt that skorch would swallow.

    skorch ends a training quietly on KeyboardInterrupt, whether the user pressed Ctrl-C or
    EarlyStopping had seen enough. Standing before the user's callbacks, this one tells them apart:
    EarlyStopping stops at the end of an epoch, a user within one.
    """

    def on_train_begin(self, net, **kwargs):
        self.within_epoch_ = False

    def on_epoch_begin(self, net, **kwargs):
        self.within_epoch_ = True

    def on_epoch_end(self, net, **kwargs):
        self.within_epoch_ = False

    def on_train_end(self, net, **kwargs):
        if self.within_epoch_:
            raise KeyboardInterrupt("The training was interrupted.")


def check_foreign_net(estimator, y):
    """Warn of, or refuse, what a plain skorch net would silently do with the labels.

    Parameters
    ----------
    estimator : estimator
        About to be trained, however wrapped.

    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The labels it will be given.

    Raises
    ------
    ValueError
        If a skorch regressor would be given a one-dimensional target. Its loss would be taken
        between every prediction and every target.

    Warns
    -----
    UserWarning
        If the net holds back a fifth of the labels, skorch's default.
    """
    for net in foreign_nets(estimator):
        name = type(net).__name__
        if _holds_back(net.train_split):
            warnings.warn(
                f"skorch's {name} holds back a fifth of the labels (train_split=ValidSplit(5)) and "
                "does not learn from them. Pass train_split=None, or use the net of the same kind "
                f"in {_OURS}.",
                UserWarning,
                stacklevel=3,
            )
        if isinstance(net, skorch.NeuralNetRegressor) and np.ndim(y) == 1:
            raise ValueError(
                f"skorch's {name} needs a target of shape (n_samples, 1). Got shape "
                f"{np.shape(y)} instead, with which its loss compares every prediction with every "
                f"target. Pass y.reshape(-1, 1), or use {_OURS}.NeuralNetRegressor, which takes "
                "both."
            )


def guard_interrupts(estimator):
    """Let Ctrl-C end the training of plain skorch nets with a KeyboardInterrupt.

    Early stopping goes on working. The guard is a callback of the net, so clones keep it.

    Parameters
    ----------
    estimator : estimator
        About to be trained, however wrapped. Its skorch nets are changed in place.
    """
    for net in foreign_nets(estimator):
        if net.callbacks == "disable":
            for name, _ in net.get_default_callbacks():
                setattr(net, f"callbacks__{name}", None)
            net.callbacks = None
        callbacks = list(net.callbacks or [])
        if any(isinstance(callback, InterruptGuard) for callback in callbacks):
            continue
        guard = InterruptGuard()
        net.callbacks = [guard, *callbacks]
        if net.initialized_:
            # With warm_start, training goes on with the callbacks there are.
            net.callbacks_ = [("InterruptGuard", guard), *net.callbacks_]


def explain_fit_error(estimator, error):
    """Explain an error of a plain skorch net in training, and say what to do.

    Parameters
    ----------
    estimator : estimator
        What was trained, however wrapped.

    error : Exception
        What it raised.

    Returns
    -------
    message : str or None
        The explanation, or None if there is no skorch net or the error is not known.
    """
    net = next(foreign_nets(estimator), None)
    if net is None:
        return None
    text = str(error)
    for explain in _EXPLANATIONS:
        cause = explain(net, text, type(error))
        if cause is not None:
            return f"skorch's {type(net).__name__} could not be trained: {cause} ({text})"
    return None


def foreign_nets(estimator):
    """Yield the plain skorch nets that training `estimator` would train."""
    for part in parts_of(estimator):
        if isinstance(part, skorch.NeuralNet) and not isinstance(part, BaseNet):
            yield part


def parts_of(estimator):
    """Yield `estimator` and the estimators inside it that training it would train."""
    if isinstance(estimator, FrozenEstimator) or isinstance(estimator, type):
        return
    yield estimator
    if isinstance(estimator, skorch.NeuralNet) or not hasattr(estimator, "get_params"):
        return
    for value in estimator.get_params(deep=False).values():
        # Steps, voters and the like are lists of (name, estimator, ...).
        for item in value if isinstance(value, list) else [value]:
            for part in item if isinstance(item, tuple) else [item]:
                if hasattr(part, "fit"):
                    yield from parts_of(part)


def _holds_back(train_split):
    """Whether this is skorch's default: a fifth of the rows, chosen by nobody."""
    return isinstance(train_split, ValidSplit) and train_split.cv == 5


# ---------------------------------------------------------------------- known errors


def _explain_dtype(net, text, kind):
    if "must have the same dtype" in text or "expected scalar type Float but found Double" in text:
        return (
            "X is float64 and torch computes in float32. Cast it, with a last preprocessing step "
            f"FunctionTransformer(np.float32) for instance, or use a net from {_OURS}."
        )


def _explain_labels(net, text, kind):
    known = (
        "can't convert np.ndarray of type numpy.",
        "invalid data type 'numpy.str_'",
        "invalid data type 'str'",
        "expected target dtype to be Long",
        "expected scalar type Long",
        "not implemented for 'Int'",
    )
    if isinstance(net, skorch.NeuralNetBinaryClassifier):
        own = ("Found dtype", "bool value of Tensor", "bool tensor", "Float")
        if any(part in text for part in (*known, *own)):
            return (
                "its labels must be float32 numbers 0 and 1, of the shape of its outputs. Cast "
                f"them (y.astype(np.float32)), or use {_OURS}.NeuralNetClassifier, which takes "
                "any labels."
            )
        return None
    if not isinstance(net, skorch.NeuralNetClassifier):
        return None
    if any(part in text for part in known) or ("Target" in text and "out of bounds" in text):
        return (
            "its labels must be int64 numbers 0, ..., n_classes - 1. Encode them with "
            f"LabelEncoder, or use {_OURS}.NeuralNetClassifier, which takes any labels."
        )


def _explain_frame(net, text, kind):
    if kind is TypeError and "unexpected keyword argument" in text and "forward" in text:
        return (
            "X is a DataFrame, whose columns skorch passes to the module one by one. Put a "
            f"preprocessing that returns an array in front, or use a net from {_OURS}."
        )


def _explain_container(net, text, kind):
    known = (
        "default_collate: batch must contain",
        "X and y have inconsistent lengths",
        "Dataset does not have consistent lengths",
        "cannot select an axis to squeeze",
        "Cannot convert this data type",
    )
    if any(part in text for part in known):
        return (
            "X or y is of a kind that skorch does not take, or they differ in length: pass arrays "
            "of as many rows (np.asarray of lists, frame.to_numpy(), X.toarray() of a sparse "
            f"array), or use a net from {_OURS}."
        )


def _explain_split(net, text, kind):
    if net.train_split is not None and "n_splits=" in text:
        return (
            "it holds back labels for validation (train_split) and there are too few. Pass "
            f"train_split=None, or use a net from {_OURS}."
        )


def _explain_valid_loss(net, text, kind):
    if kind is KeyError and "valid_loss" in text:
        return (
            "a callback watches valid_loss and there is no validation data. Watch train_loss "
            "(EarlyStopping(monitor='train_loss')), or pass a train_split."
        )


def _explain_batch_norm(net, text, kind):
    if "Expected more than 1 value per channel when training" in text:
        return (
            "batch normalisation got a batch of a single row. Choose a batch_size that leaves no "
            f"such rest, or use a net from {_OURS}, which joins it to the batch before."
        )


def _explain_device(net, text, kind):
    known = (
        "Torch not compiled with CUDA enabled",
        "No CUDA GPUs are available",
        "Expected one of cpu, cuda",
        "Invalid device string",
    )
    if any(part in text for part in known):
        return (
            f"torch has no device {net.device!r} here. Use device='cpu' or "
            "skal.utils.best_device()."
        )


_EXPLANATIONS = (
    _explain_dtype,
    _explain_labels,
    _explain_frame,
    _explain_container,
    _explain_split,
    _explain_valid_loss,
    _explain_batch_norm,
    _explain_device,
)
