"""The regressor."""

from collections.abc import Mapping

import numpy as np
import skorch
import torch
from sklearn.utils import check_array
from torch import nn

from skal.neural_network._inputs import as_numpy, shape_of
from skal.neural_network._modules import MLP
from skal.neural_network._net import _ROWS, BaseNet
from skal.utils._compat import _fit_context


class NeuralNetRegressor(BaseNet, skorch.NeuralNetRegressor):
    """A torch net for regression that keeps scikit-learn's contract.

    It is skorch's ``NeuralNetRegressor`` with the habits of a scikit-learn estimator: any table in
    (arrays of any dtype, frames, lists, sparse matrices), predictions with as many dimensions as
    `y`, results that depend on `random_state` alone, weights, errors that say what to do. It stands
    at the end of a ``Pipeline``, inside ``TransformedTargetRegressor`` and ``GridSearchCV``.

    Parameters
    ----------
    module : module class, default=MLP
        A ``torch.nn.Module`` class, not an instance. It is called with float32 tensors of shape
        (batch, ...) and returns a tensor of shape (batch, n_outputs), or a tuple that starts with
        it. Constructor arguments are passed as ``module__name=value``. Arguments named `n_features`
        (values per row of X) and `n_outputs` (columns of y) are filled in from the data unless you
        set them.

    criterion : criterion class or instance, default=torch.nn.MSELoss
        The loss of (outputs, targets), both of shape (batch, n_outputs).

    optimizer : optimizer class, default=torch.optim.Adam
        Its arguments are passed as ``optimizer__name=value``.

    lr : float, default=0.001
        Learning rate. Larger learns faster, until the loss diverges.

    max_epochs : int, default=100
        Passes over the data in each call of `fit` or `partial_fit`.

    batch_size : int, default=64
        Rows per step of the optimiser; -1 takes all at once. A last batch of one row joins the one
        before.

    standardize_y : bool, default=False
        Whether to train on targets of mean 0 and standard deviation 1; predictions are in the units
        of `y`. Use it unless `y` is scaled already. In contrast to ``TransformedTargetRegressor``,
        it lets `warm_start` go on with the present weights.

    train_split : callable or None, default=None
        Splits off validation data, such as ``skorch.dataset.ValidSplit(5)``, for callbacks that
        watch ``"valid_loss"``. None trains on every label.

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
    module_ : torch.nn.Module
        The trained module, in evaluation mode.

    history_ : skorch.history.History
        A record per epoch: number, training loss (of the scaled target), validation loss, duration.

    n_outputs_ : int
        Number of columns of `y`.

    y_mean_ : ndarray of shape (n_outputs,)
        Mean of the targets. Only with ``standardize_y=True``.

    y_scale_ : ndarray of shape (n_outputs,)
        Their standard deviation, 1 where they are constant. Only with ``standardize_y=True``.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    NeuralNetClassifier : The same for classification.
    MLP : The default module.

    Notes
    -----
    X is cast to what the module computes in: float64 where its weights are (``module.double()``,
    ``torch.set_default_dtype``), else float32; a module that embeds integers casts back. Images and
    sequences (X of more than two dimensions) reach the module as they are. Sparse matrices are made
    dense batch by batch. A dict of arrays is for modules with several inputs: ``forward`` is called
    with a batch of each by name; in it integers stay int64 and truth values bool.

    Normalisations in frozen parts of a module (``requires_grad`` False for all their weights) keep
    their running statistics while the rest trains. With ``max_epochs=0`` nothing is trained: the
    net has the weights that the module's constructor gave it, see
    :doc:`/user_guide/pretrained`.

    With `sample_weight` w of mean 1, the loss of a batch is the mean of :math:`w_i l_i`. A weight
    of 2 then equals a row that occurs twice: exactly where all rows fit in one batch, on average
    otherwise; not for batch normalisation and dropout, which see rows, not weights. Rows of weight
    0 are left out.

    Small nets on the CPU train on one thread, which is faster, and makes the result independent of
    the number of cores and of `n_jobs` of processes.

    Several Python threads may train and predict at once. torch's random generators belong to the
    process, so trainings wait for each other (one lock around every seeded section) and give what
    they give alone; predictions never wait. Use processes to train several nets at a time. Code of
    your own that draws from torch's generators during a training in another thread disturbs it.

    A KeyboardInterrupt (Ctrl-C) is passed on, unlike in skorch. Callbacks end a training by raising
    it in `on_epoch_end`, as skorch's EarlyStopping does.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from skal.neural_network import NeuralNetRegressor
    >>> X, y = make_regression(n_samples=200, n_features=5, random_state=0)
    >>> net = NeuralNetRegressor(module__hidden=(50,), standardize_y=True, random_state=0)
    >>> net.fit(X, y).score(X, y) > 0.9
    True
    """

    _trains_plainly = True  # see _short_step
    _parameter_constraints = {**BaseNet._parameter_constraints, "standardize_y": ["boolean"]}

    def __init__(
        self,
        module=MLP,
        *,
        criterion=nn.MSELoss,
        optimizer=torch.optim.Adam,
        lr=0.001,
        max_epochs=100,
        batch_size=64,
        standardize_y=False,
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
            train_split=train_split,
            callbacks=callbacks,
            warm_start=warm_start,
            verbose=verbose,
            device=device,
            random_state=random_state,
            **kwargs,
        )
        self.standardize_y = standardize_y

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train on rows and their targets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            The rows; or a dict of such arrays, the arguments of the module's ``forward``.

        y : array-like of shape (n_samples,), (n_samples, n_outputs) or (n_samples, ...)
            The targets; a number for each pixel, for instance, where rows are images.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the loss.

        Returns
        -------
        self : NeuralNetRegressor
            The fitted net.

        Raises
        ------
        ValueError
            If the data cannot be trained on, or the loss becomes NaN or infinite.
        """
        cold = not (self.warm_start and self.__sklearn_is_fitted__())
        return self._fit(X, y, sample_weight, cold=cold)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train for another `max_epochs` epochs, on these rows alone.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            The rows; or a dict of such arrays, the arguments of the module's ``forward``.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets. The first call decides the scaling of ``standardize_y=True``.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the loss.

        classes : None
            Ignored; part of skorch's interface.

        Returns
        -------
        self : NeuralNetRegressor
            The net.
        """
        return self._fit(X, y, sample_weight, cold=not self.__sklearn_is_fitted__())

    def predict(self, X):
        """Predict the targets of rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            The rows; or a dict of such arrays, the arguments of the module's ``forward``.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, ...), dtype float64
            The predictions, of the shape of the `y` given to `fit`.
        """
        outputs = self._outputs(X).double().numpy()
        if hasattr(self, "y_mean_"):
            outputs = outputs * self.y_scale_ + self.y_mean_
        return outputs.reshape(-1, *self._y_shape)

    def _checked_outputs(self, outputs):
        # A number per pixel: (n, 1, height, width) or (n, height, width).
        return super()._checked_outputs(outputs.flatten(1) if self._y_ndim > 2 else outputs)

    @property
    def predict_proba(self):
        """Not available: skorch's regressor has it, a regressor of scikit-learn has not."""
        raise AttributeError(f"{type(self).__name__} has no predict_proba. Use predict.")

    # ------------------------------------------------------------------ targets

    def _checks(self):
        return {**_ROWS, "multi_output": True, "y_numeric": True}

    def _validate_training_data(self, X, y, *, reset):
        if len(shape_of(y)) < 3 or isinstance(X, Mapping):
            return super()._validate_training_data(X, y, reset=reset)
        # scikit-learn knows one or several numbers per row; those of pixels are checked here.
        y = self._validate_target(y)
        return super()._validate_training_data(X, y.reshape(len(y), -1), reset=reset)[0], y

    def _validate_target(self, y):
        return check_array(
            as_numpy(y), dtype=np.float64, ensure_2d=False, allow_nd=True, input_name="y"
        )

    def _learn_target(self, y, weight, classes):
        for name in ("y_mean_", "y_scale_"):
            vars(self).pop(name, None)
        self._y_ndim, self._y_shape = y.ndim, y.shape[1:]
        y = y.reshape(len(y), -1).astype(np.float64)
        self.n_outputs_ = y.shape[1]
        if self.standardize_y:
            self.y_mean_ = np.average(y, axis=0, weights=weight)
            scale = np.sqrt(np.average((y - self.y_mean_) ** 2, axis=0, weights=weight))
            # Rounding leaves a constant column a tiny scale.
            constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(self.y_mean_)
            self.y_scale_ = np.where(constant | (scale == 0), 1.0, scale)

    def _learn_without_data(self):
        columns = self.get_params_for("module").get("n_outputs")
        if self.standardize_y or columns is None:
            missing = "the scale of y (standardize_y=True)" if self.standardize_y else "n_outputs"
            raise ValueError(
                f"Weights alone do not say what {type(self).__name__} predicts: {missing} is not "
                "in the file. Keep the whole net with pickle or joblib, or pass "
                "standardize_y=False and module__n_outputs."
            )
        self._row_shape, self.n_outputs_ = None, columns
        self._y_ndim, self._y_shape = (1, ()) if columns == 1 else (2, (columns,))

    def _encode_target(self, y):
        """Targets in the units of the loss: (n, n_outputs), float32 or float64 as the module."""
        y = y.reshape(len(y), -1).astype(np.float64)
        if y.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y has {y.shape[1]} columns, but {type(self).__name__} is expecting "
                f"{self.n_outputs_}, as in the first fit."
            )
        if hasattr(self, "y_mean_"):
            y = (y - self.y_mean_) / self.y_scale_
        return y.astype(self._row_dtype)

    def _decode_target(self, target):
        if hasattr(self, "y_mean_"):
            target = target * self.y_scale_ + self.y_mean_
        return target.reshape(-1, *self._y_shape)

    def _meaning_of_outputs(self):
        return "one per column of y"

    def _fitting_criterion(self):
        return (
            "It must take outputs and float targets of shape (n_samples, n_outputs), as "
            "torch.nn.MSELoss does."
        )

    def _remedy_for_divergence(self):
        return "Scale X" if self.standardize_y else "Scale X and y (standardize_y=True)"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
