"""The regressor for small tables."""

import numpy as np
from scipy.special import expm1, log1p
from sklearn.base import RegressorMixin
from sklearn.linear_model import RidgeCV

from skal.models._base import TabularModel
from skal.models._folds import deal_folds
from skal.models._forest import RegressionForest
from skal.models._gaussian_process import (
    TUNING_ROWS,
    MaternProcess,
    RelevanceProcess,
    best_evidence,
)
from skal.models._weights import least_squares_weights
from skal.utils._compat import _fit_context

_ALPHAS = np.logspace(-2, 5, 15)

# Predictions stay within the range of the labels and so many ranges beyond.
_BEYOND = 0.5

_ANY = -np.inf, np.inf

# What may be predicted in place of a positive target: function, derivative, inverse. The inverse of
# the root is that of its own values only.
_TRANSFORMS = {
    "identity": (lambda y: y, np.ones_like, lambda t: t),
    "sqrt": (np.sqrt, lambda y: 0.5 / np.sqrt(y), lambda t: np.maximum(t, 0.0) ** 2),
    "log1p": (log1p, lambda y: 1.0 / (1.0 + y), expm1),
    "log": (np.log, lambda y: 1.0 / y, np.exp),
}


class TabularRegressor(RegressorMixin, TabularModel):
    """A regressor for tables of one to some thousands of labelled rows that needs no tuning.

    It takes the table as it is, columns of all kinds and gaps included, and stacks four models
    that fail in different ways: ridge regression, a Gaussian process with one length scale, one
    with a length scale per column, and extremely randomised trees. Their weights are those with
    which they would have predicted each label best from the others.

    Parameters
    ----------
    preprocessor : transformer or None, default=None
        Makes numbers of the table. None is
        :class:`~skal.preprocessing.TablePreprocessor`.

    transform_target : bool, default=True
        Whether a positive target may be predicted as its square root or logarithm, if it is more
        probable so (see Notes). Predictions are in the units of `y`.

    n_estimators : int, default=100
        Trees of the forest.

    random_state : int, RandomState or None, default=None
        Seeds the trees and the folds of their held-out predictions. With an integer, the result
        does not depend on the order of the rows.

    Attributes
    ----------
    weights_ : dict of str to float
        The weight of each model in the prediction: "ridge", "gaussian_process",
        "relevance_process" (a length scale per column) and "forest". They sum to 1. Empty where
        all labels are equal.

    target_transform_ : str
        "identity", "sqrt", "log1p" or "log".

    preprocessor_ : transformer
        The fitted preprocessor.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    TabularClassifier : The same for classification.
    NetEnsembleRegressor : Nets without tuning, for the strategies that need several.

    Notes
    -----
    *Ridge*: alpha and held-out predictions by leave-one-out in closed form (``RidgeCV``).
    *Gaussian processes*: Matern kernels of smoothness 3/2; length and noise are those of the
    largest marginal likelihood on a grid, for which one eigendecomposition per length is enough;
    lengths per column climb from there, held back by a log-normal prior. The held-out prediction
    is :math:`y_i - [K^{-1} y]_i / [K^{-1}]_{ii}` (Rasmussen and Williams, eq. 5.12).
    *Forest*: held-out predictions by five folds, with a fifth of the trees each.
    *Weights*: non-negative least squares on the held-out predictions with sum 1 (Breiman), with a
    pull towards equal weights as strong as one row.

    The target is transformed where that makes the labels more probable: the marginal likelihood of
    the first process, times the derivative of the transform. A prediction is the inverse of the
    stack's, a median rather than a mean where the target is transformed. It never leaves the range
    of the labels by more than half of it.

    The cost is that of the forest, plus O(n^3) for at most 2,000 rows: a random part of a larger
    table serves the two processes (400 rows for their hyperparameters), all rows serve the others.
    Predicting costs O(n d) per row, d the number of outputs of the preprocessor.

    References
    ----------
    Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press 2006, section 5.4.
    Breiman, Stacked regressions, Machine Learning 24, 1996.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.datasets import load_diabetes
    >>> from skal.models import TabularRegressor
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    >>> X["sex"] = X["sex"].map({1: "a", 2: "b"})
    >>> model = TabularRegressor(random_state=0).fit(X[:100], y[:100])
    >>> model.score(X[100:], y[100:]) > 0.4
    True
    >>> sorted(model.weights_)
    ['forest', 'gaussian_process', 'relevance_process', 'ridge']
    """

    _parameter_constraints = {
        **TabularModel._parameter_constraints,
        "transform_target": ["boolean"],
    }

    def __init__(
        self, preprocessor=None, *, transform_target=True, n_estimators=100, random_state=None
    ):
        self.preprocessor = preprocessor
        self.transform_target = transform_target
        self.n_estimators = n_estimators
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None):
        """Fit the models and their weights.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            The labelled rows.

        y : array-like of shape (n_samples,)
            Their targets.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows. A row of weight 2 is one that occurs twice.

        Returns
        -------
        self : TabularRegressor
            The fitted regressor.

        Raises
        ------
        ValueError
            If the table cannot be read, or a target is missing or infinite.
        """
        Z, y, weight, rng = self._prepare(X, y, sample_weight, y_numeric=True)
        y = y.astype(np.float64)
        self.weights_, self._parts = {}, {}
        self.target_transform_ = self._choose_transform(Z, y, weight)
        t = _TRANSFORMS[self.target_transform_][0](y)
        self._center, self._scale = _location(t, weight)
        t = (t - self._center) / self._scale
        self._bounds = _widened(t)
        if np.ptp(t) > 0:
            self._fit_parts(Z, t, weight, rng)
        return self

    def _fit_parts(self, Z, t, weight, rng):
        fold = deal_folds(t, rng)
        self._parts = {
            "ridge": _Ridge().fit(Z, t, weight),
            "gaussian_process": _Process(MaternProcess()).fit(Z, t, weight, fold, rng),
            "relevance_process": _Process(RelevanceProcess()).fit(Z, t, weight, fold, rng),
            "forest": _Forest(self.n_estimators).fit(Z, t, weight, fold, rng),
        }
        held_out = np.column_stack([part.held_out_ for part in self._parts.values()])
        shares = least_squares_weights(held_out, t, weight)
        self.weights_ = dict(zip(self._parts, shares.tolist(), strict=True))
        spread = np.column_stack([part.held_out_std_ for part in self._parts.values()])
        mean, variance = _mixture(held_out, spread, shares)
        self._calibration = np.sqrt(np.average((t - mean) ** 2 / variance, weights=weight))

    def predict(self, X, return_std=False):
        """Predict the targets of rows.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            The rows.

        return_std : bool, default=False
            Whether to return how uncertain the predictions are.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            The predictions, in the units of `y`.

        y_std : ndarray of shape (n_samples,)
            Only with ``return_std=True``: standard deviations of new labels, in the units of `y`:
            that of the mixture of the models, scaled to the errors on held-out rows.
        """
        Z = self._numbers(X)
        means, stds = self._predict_parts(Z)
        shares = np.array(list(self.weights_.values()) or [1.0])
        mean, variance = _mixture(means, stds, shares)
        y_pred = self._in_units_of_y(mean, *self._bounds)
        if not return_std:
            return y_pred
        std = np.sqrt(variance) * (self._calibration if self._parts else 0.0)
        upper, lower = (self._in_units_of_y(mean + sign * std, *_ANY) for sign in (1, -1))
        return y_pred, (upper - lower) / 2

    def predict_parts(self, X):
        """Predict the targets of rows with each model of the stack alone.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        predictions : dict of str to ndarray of shape (n_samples,)
            By the names in `weights_`, in the units of `y`; "constant" where all labels are equal.
        """
        means, _ = self._predict_parts(self._numbers(X))
        columns = zip(self._parts or ["constant"], means.T, strict=True)
        return {name: self._in_units_of_y(column, *self._bounds) for name, column in columns}

    # ------------------------------------------------------------------ steps

    def _choose_transform(self, Z, y, weight):
        """The transform under which the labels are most probable."""
        if not self.transform_target or y.min() <= 0 or np.ptp(y) == 0:
            return "identity"
        few = np.linspace(0, len(y) - 1, min(len(y), TUNING_ROWS)).astype(int)
        Z, y, weight = Z[few], y[few], weight[few]
        targets, slopes = [], []
        for function, derivative, _ in _TRANSFORMS.values():
            t = function(y)
            center, scale = _location(t, weight)
            targets.append((t - center) / scale)
            slopes.append(np.log(derivative(y) / scale).sum())
        evidence = best_evidence(Z, np.column_stack(targets), weight) + slopes
        return list(_TRANSFORMS)[int(evidence.argmax())]

    def _predict_parts(self, Z):
        """Means and standard deviations of each model, standardised: (n_samples, n_parts) each."""
        if not self._parts:
            return np.zeros((len(Z), 1)), np.zeros((len(Z), 1))
        pairs = [part.predict(Z) for part in self._parts.values()]
        means, stds = (np.column_stack(columns) for columns in zip(*pairs, strict=True))
        return means, stds

    def _in_units_of_y(self, standardised, low, high):
        t = standardised.clip(low, high) * self._scale + self._center
        return _TRANSFORMS[self.target_transform_][2](t)


class _Ridge:
    """Ridge regression with alpha by leave-one-out."""

    def fit(self, Z, t, weight):
        search = RidgeCV(_ALPHAS, scoring="neg_mean_squared_error", store_cv_results=True)
        self._model = search.fit(Z, t, sample_weight=weight)
        self.held_out_ = search.cv_results_[:, np.flatnonzero(_ALPHAS == search.alpha_)[0]]
        self.held_out_std_ = np.full(len(t), _root_mean_square(t - self.held_out_, weight))
        return self

    def predict(self, Z):
        return self._model.predict(Z), np.full(len(Z), self.held_out_std_[0])


class _Process:
    """A Gaussian process on one target."""

    def __init__(self, process):
        self._process = process

    def fit(self, Z, t, weight, fold, rng):
        process = self._process.fit(Z, t[:, None], weight, fold, rng)
        self.held_out_, self.held_out_std_ = process.held_out_[:, 0], process.held_out_std_[:, 0]
        return self

    def predict(self, Z):
        mean, std = self._process.predict(Z)
        return mean[:, 0], std[:, 0]


class _Forest:
    """A forest, as uncertain everywhere as on held-out rows."""

    def __init__(self, n_estimators):
        self._forest = RegressionForest(n_estimators)

    def fit(self, Z, t, weight, fold, rng):
        self._forest.fit(Z, t, weight, fold, rng)
        self.held_out_ = self._forest.held_out_
        self.held_out_std_ = np.full(len(t), _root_mean_square(t - self.held_out_, weight))
        return self

    def predict(self, Z):
        return self._forest.predict(Z), np.full(len(Z), self.held_out_std_[0])


def _mixture(means, stds, shares):
    """Mean and variance of a mixture: (n_samples,) each."""
    mean = means @ shares
    variance = (stds**2 + (means - mean[:, None]) ** 2) @ shares
    return mean, variance


def _location(t, weight):
    """Weighted mean and standard deviation, 1 where the values are equal."""
    center = np.average(t, weights=weight)
    scale = np.sqrt(np.average((t - center) ** 2, weights=weight))
    return center, scale if np.ptp(t) > 0 and scale > 0 else 1.0


def _widened(t):
    low, high = t.min(), t.max()
    return low - _BEYOND * (high - low), high + _BEYOND * (high - low)


def _root_mean_square(errors, weight):
    return np.sqrt(np.average(errors**2, weights=weight))
