"""The classifier."""

import numpy as np
import skorch
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d
from torch import nn

from skal.neural_network._modules import MLP, log_softmax
from skal.neural_network._net import _ROWS, BaseNet
from skal.utils._compat import _fit_context


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
        them. Constructor arguments are passed as ``module__name=value``. Arguments named
        `n_features` (values per row of X) and `n_outputs` (number of classes) are filled in from
        the data unless you set them.

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

    _parameter_constraints = {**BaseNet._parameter_constraints, "classes": ["array-like", None]}

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

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train on rows and their labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            The rows.

        y : array-like of shape (n_samples,)
            The labels.

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
            The rows.

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
            The rows.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            The most probable class of each row.
        """
        positions = self._outputs(X).argmax(1).numpy()
        return self.classes_[positions]

    def predict_proba(self, X):
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            The rows.

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes), dtype float32
            Probabilities, in the order of `classes_`: the softmax of the outputs, computed in
            float64.
        """
        return self._log_probabilities(self._outputs(X)).exp().float().numpy()

    def _log_probabilities(self, outputs):
        """Logarithms of class probabilities, float64, from outputs (n, n_classes)."""
        outputs = outputs.double()
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
        X, y = super()._validate_training_data(X, y, reset=reset)
        check_classification_targets(y)
        return X, column_or_1d(y, warn=True)

    def _learn_target(self, y, weight, classes):
        classes = self.classes if classes is None else classes
        self.classes_inferred_ = np.unique(y if classes is None else np.asarray(classes))
        self.n_outputs_ = len(self.classes_)

    def _encode_target(self, y):
        """Positions of the labels in `classes_`: int64 (n,)."""
        codes = np.searchsorted(self.classes_, y).clip(max=self.n_outputs_ - 1)
        unknown = self.classes_[codes] != y
        if np.any(unknown):
            raise ValueError(
                f"y has labels that are not among the classes {self.classes_.tolist()} of "
                f"{type(self).__name__}: {np.unique(y[unknown]).tolist()[:5]}. Name all classes "
                "with the parameter 'classes'."
            )
        return codes.astype(np.int64)

    def _criterion_loss(self, outputs, target):
        if isinstance(self.criterion_, nn.NLLLoss):
            outputs = torch.log(outputs + torch.finfo(outputs.dtype).eps)
        return self.criterion_(outputs, target)

    def _meaning_of_outputs(self):
        return "one logit per class"

    def _remedy_for_divergence(self):
        return "Scale X"
