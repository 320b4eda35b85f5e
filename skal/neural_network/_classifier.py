"""The classifier."""

from collections.abc import Mapping

import numpy as np
import skorch
import torch
from sklearn.utils import assert_all_finite, check_array, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, column_or_1d
from torch import nn

from skal.neural_network._inputs import as_numpy, shape_of
from skal.neural_network._modules import MLP, log_softmax
from skal.neural_network._net import _ROWS, BaseNet
from skal.utils._compat import StrOptions, _fit_context


class NeuralNetClassifier(BaseNet, skorch.NeuralNetClassifier):
    """A torch net for classification that keeps scikit-learn's contract.

    It is skorch's ``NeuralNetClassifier`` with the habits of a scikit-learn estimator: any table in
    (arrays of any dtype, frames, lists, sparse matrices), labels of any kind, results that depend
    on `random_state` alone, weights, errors that say what to do.

    Parameters
    ----------
    module : module class, default=MLP
        A ``torch.nn.Module`` class, not an instance. It is called with float32 tensors of shape
        (batch, ...) and returns logits of shape (batch, n_classes), or a tuple that starts with
        them; for a class per pixel, of shape (batch, n_classes, height, width). Constructor
        arguments are passed as ``module__name=value``. Arguments named `n_features` (values per row
        of X) and `n_outputs` (number of classes) are filled in from the data unless you set them.

    criterion : criterion class or instance, default=torch.nn.CrossEntropyLoss
        The loss of (outputs, class numbers). Outputs are taken as logits; only with
        ``torch.nn.NLLLoss`` they are taken as probabilities, as in skorch.

    optimizer : optimizer class, default=torch.optim.Adam
        Its arguments are passed as ``optimizer__name=value``.

    lr : float, default=0.001
        Learning rate. Larger learns faster, until the loss diverges.

    max_epochs : int, default=100
        Passes over the data in each call of `fit` or `partial_fit`.

    batch_size : int, default=64
        Rows per step of the optimiser; -1 takes all at once. A last batch of one row joins the one
        before.

    classes : array-like of shape (n_classes,) or None, default=None
        All classes there are. The first labels of an active learner may miss some; naming them here
        fixes the columns of `predict_proba`. None takes the classes seen in `fit`.

    class_weight : "balanced", dict of label to float, or None, default=None
        Weights of the classes in the loss: rows count `sample_weight` times the weight of their
        class. "balanced" is n_samples / (number of classes seen * rows of the class), which lets
        the few rows of a rare class count as much as all others.

    train_split : callable or None, default=None
        Splits off validation data, such as ``skorch.dataset.ValidSplit(5, stratified=True)``, for
        callbacks that watch ``"valid_loss"``. None trains on every label.

    callbacks : list of skorch callbacks, "disable" or None, default=None
        Called during training, ``EarlyStopping(monitor="train_loss")`` for instance. Copies are
        used; they are in `callbacks_`.

    warm_start : bool, default=False
        Whether `fit` on a fitted net goes on from its weights.

    verbose : int, default=0
        Whether to print a line per epoch.

    device : str or torch.device, default="cpu"
        Where to train and predict: "cpu", "cuda", "cuda:1".

    random_state : int, RandomState or None, default=None
        Seeds the initial weights, the order of rows and dropout.

    **kwargs : dict
        Arguments of the parts of the net: ``module__name``, ``criterion__name``,
        ``optimizer__name``, ``callbacks__name__parameter``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, sorted; the order of the columns of `predict_proba` and of the logits.

    module_ : torch.nn.Module
        The trained module, in evaluation mode.

    history_ : skorch.history.History
        A record per epoch: number, training loss, validation loss, duration.

    n_outputs_ : int
        Number of classes.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    NeuralNetRegressor : The same for regression. Its notes on data, weights, threads and
        interrupts hold here, too.
    MLP : The default module.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skal.neural_network import NeuralNetClassifier
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> net = NeuralNetClassifier(max_epochs=50, random_state=0)
    >>> make_pipeline(StandardScaler(), net).fit(X, y).score(X, y) > 0.9
    True
    """

    _trains_plainly = True  # see _short_step
    _parameter_constraints = {
        **BaseNet._parameter_constraints,
        "classes": ["array-like", None],
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(
        self,
        module=MLP,
        *,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.001,
        max_epochs=100,
        batch_size=64,
        classes=None,
        class_weight=None,
        train_split=None,
        callbacks=None,
        warm_start=False,
        verbose=0,
        device="cpu",
        random_state=None,
        **kwargs,
    ):
        super().__init__(
            module,
            criterion=criterion,
            optimizer=optimizer,
            lr=lr,
            max_epochs=max_epochs,
            batch_size=batch_size,
            classes=classes,
            train_split=train_split,
            callbacks=callbacks,
            warm_start=warm_start,
            verbose=verbose,
            device=device,
            random_state=random_state,
            **kwargs,
        )
        self.class_weight = class_weight

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train on rows and their labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            The rows; or a dict of such arrays, the arguments of the module's ``forward``.

        y : array-like of shape (n_samples,) or (n_samples, ...)
            The labels; a label for each position (pixels, tokens) where rows are arrays.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the loss.

        Returns
        -------
        self : NeuralNetClassifier
            The fitted net.

        Raises
        ------
        ValueError
            If the data cannot be trained on, a label is not among `classes`, or the loss becomes
            NaN or infinite.
        """
        cold = not (self.warm_start and self.__sklearn_is_fitted__())
        return self._fit(X, y, sample_weight, cold=cold)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for another `max_epochs` epochs, on these rows alone.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            The rows; or a dict of such arrays, the arguments of the module's ``forward``.

        y : array-like of shape (n_samples,)
            The labels.

        classes : array-like of shape (n_classes,), default=None
            All classes there are; read in the first call only. None takes the parameter `classes`,
            or the labels of the first call.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the loss.

        Returns
        -------
        self : NeuralNetClassifier
            The net.
        """
        cold = not self.__sklearn_is_fitted__()
        return self._fit(X, y, sample_weight, cold=cold, classes=classes)

    def predict(self, X):
        """Predict the labels of rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            The rows; or a dict of such arrays, the arguments of the module's ``forward``.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, ...)
            The most probable class of each row, or of each of its positions.
        """
        codes = self._outputs(X).argmax(1).numpy()
        return self.classes_[codes]

    def predict_proba(self, X):
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            The rows; or a dict of such arrays, the arguments of the module's ``forward``.

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes) or (n_samples, n_classes, ...)
            Probabilities, in the order of `classes_`: the softmax of the outputs, computed in
            float64; float32, or float64 where the module computes in it.
        """
        outputs = self._outputs(X)
        return self._log_probabilities(outputs).exp().to(outputs.dtype).numpy()

    def score(self, X, y, sample_weight=None):
        """Compute the accuracy.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            The rows; or a dict of such arrays.

        y : array-like of shape (n_samples,) or (n_samples, ...)
            Their labels.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            Share of the labels that are predicted; where rows have several, the mean of their
            shares.
        """
        if not getattr(self, "_positions", ()):
            return super().score(X, y, sample_weight)
        right = self.predict(X) == np.asarray(as_numpy(y))
        return float(np.average(right.reshape(len(right), -1).mean(1), weights=sample_weight))

    def _log_probabilities(self, outputs):
        """Logarithms of class probabilities, float64, from outputs (n, n_classes, ...)."""
        outputs = outputs.double()
        nonlinearity = self.predict_nonlinearity
        if callable(nonlinearity):
            return nonlinearity(outputs).log()
        if nonlinearity is None:
            return outputs.log()
        if isinstance(self.criterion_, nn.NLLLoss):
            outputs = outputs.log()
        return log_softmax(outputs)

    # ------------------------------------------------------------------ targets

    @property
    def classes_(self):
        """The classes, sorted."""
        try:
            return vars(self)["classes_inferred_"]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__} has no attribute 'classes_' before fit."
            ) from None

    def _checks(self):
        return _ROWS

    def check_data(self, X, y):
        """Do nothing: `fit` has checked the data. Part of skorch's interface."""

    def _validate_training_data(self, X, y, *, reset):
        if not _has_positions(X, y):
            X, y = super()._validate_training_data(X, y, reset=reset)
            check_classification_targets(y)
            return X, column_or_1d(y, warn=True)
        # scikit-learn knows labels of rows; those of positions are checked here.
        X = self._validate_rows_alone(X, reset)
        y = np.asarray(as_numpy(y))
        check_consistent_length(y, *(X.values() if isinstance(X, Mapping) else [X]))
        assert_all_finite(y, input_name="y")
        check_classification_targets(y.ravel())
        if not reset and y.shape[1:] != self._positions:
            raise ValueError(
                f"y has labels of shape {y.shape[1:]} per row, but {type(self).__name__} is "
                f"expecting {self._positions}, as in the first fit."
            )
        return X, y

    def _validate_rows_alone(self, X, reset):
        if not reset:
            return self._validate_rows(X)
        nothing = np.zeros(len(next(iter(X.values()))) if isinstance(X, Mapping) else len(X), int)
        return super()._validate_training_data(X, nothing, reset=True)[0]

    def _validate_target(self, y):
        y = column_or_1d(as_numpy(y), warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        return y

    def _row_weights(self, weight, y):
        if self.class_weight is None:
            return weight
        if y.ndim > 1:
            raise ValueError(
                f"'class_weight' of {type(self).__name__} weighs rows, and here each row has "
                f"labels of shape {y.shape[1:]}. Use criterion__weight, a number per class."
            )
        by_class = compute_sample_weight(self.class_weight, y)
        return by_class if weight is None else weight * by_class

    def _learn_target(self, y, weight, classes):
        classes = self.classes if classes is None else classes
        self.classes_inferred_ = np.unique(y if classes is None else np.asarray(classes))
        self.n_outputs_ = len(self.classes_)
        self._positions = y.shape[1:]

    def _learn_without_data(self):
        if self.classes is None:
            raise ValueError(
                f"Weights alone do not say which classes they predict: pass classes= to "
                f"{type(self).__name__} before load_params, or keep the whole net with pickle or "
                "joblib."
            )
        self._row_shape = None
        self._learn_target(np.zeros(0), None, self.classes)

    def _encode_target(self, y):
        """Positions of the labels in `classes_`: int64 of the shape of `y`."""
        codes = np.searchsorted(self.classes_, y).clip(max=self.n_outputs_ - 1)
        unknown = self.classes_[codes] != y
        if np.any(unknown):
            raise ValueError(
                f"y has labels that are not among the classes {self.classes_.tolist()} of "
                f"{type(self).__name__}: {np.unique(y[unknown]).tolist()[:5]}. Name all classes "
                "with the parameter 'classes'."
            )
        return codes.astype(np.int64)

    def _decode_target(self, target):
        return self.classes_[target]

    def _criterion_arguments(self, arguments):
        weight = arguments.get("weight")
        if weight is None or not _is_torchs(self.criterion):
            return arguments
        name = f"The 'criterion__weight' parameter of {type(self).__name__}"
        if isinstance(weight, dict) or isinstance(weight, str):
            raise ValueError(
                f"{name} must be an array of one number per class. Got {weight!r} instead. Use "
                f"class_weight={weight!r}."
            )
        weight = check_array(
            np.asarray(as_numpy(weight)),
            ensure_2d=False,
            dtype=self._row_dtype,
            input_name="weight",
        )
        n_classes = getattr(self, "n_outputs_", len(weight))
        if weight.shape != (n_classes,) or (weight < 0).any():
            raise ValueError(
                f"{name} must hold a number of at least 0 for each of the {n_classes} classes. Got "
                f"shape {weight.shape}, from {weight.min():g} to {weight.max():g}, instead."
            )
        return {**arguments, "weight": torch.as_tensor(weight)}

    def _criterion_loss(self, outputs, target):
        if isinstance(self.criterion_, nn.NLLLoss):
            outputs = torch.log(outputs + torch.finfo(outputs.dtype).eps)
        return self.criterion_(outputs, target)

    def _meaning_of_outputs(self):
        return "one logit per class"

    def _remedy_for_divergence(self):
        return "Scale X"

    def _fitting_criterion(self):
        return (
            "It must take logits of shape (n_samples, n_classes) and int64 class numbers, as "
            "torch.nn.CrossEntropyLoss does."
        )


def _has_positions(X, y):
    """Whether rows have several labels, one for each of their positions (pixels, tokens)."""
    shape = shape_of(y)
    if len(shape) < 2 or shape[1:] == (1,):
        return False
    return len(shape) > 2 or isinstance(X, Mapping) or len(shape_of(X)) > 2


def _is_torchs(criterion):
    return isinstance(criterion, type) and issubclass(criterion, nn.modules.loss._WeightedLoss)
