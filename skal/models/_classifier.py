"""The classifier for small tables."""

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from skal.models._base import TabularModel
from skal.models._folds import deal_folds
from skal.models._forest import ClassificationForest
from skal.models._gaussian_process import MaternProcess, RelevanceProcess
from skal.models._likelihood import best_temperature, floored, likelihoods
from skal.models._logistic import LogisticModel
from skal.models._weights import log_loss_weights
from skal.utils._compat import _fit_context


class TabularClassifier(ClassifierMixin, TabularModel):
    """A classifier for tables of one to some thousands of labelled rows that needs no tuning.

    It takes the table as it is, columns of all kinds and gaps included, and mixes four models that
    fail in different ways: logistic regression, a kernel classifier with one length scale, one with
    a length scale per column, and extremely randomised trees. Their weights are those with which
    they would have found each label most probable without having seen it.

    Parameters
    ----------
    preprocessor : transformer or None, default=None
        Makes numbers of the table. None is
        :class:`~skal.preprocessing.TablePreprocessor`.

    n_estimators : int, default=100
        Trees of the forest.

    random_state : int, RandomState or None, default=None
        Seeds the trees and the folds of held-out predictions. With an integer, the result does not
        depend on the order of the rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes seen in `fit`, sorted; the order of the columns of `predict_proba`.

    weights_ : dict of str to float
        The weight of each model in the mixture: "logistic", "kernel", "relevance_kernel" (a length
        scale per column) and "forest". They sum to 1. Empty where there is one class only.

    preprocessor_ : transformer
        The fitted preprocessor.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    TabularRegressor : The same for regression. Its notes on repeated rows and cost hold here, too.
    NetEnsembleClassifier : Nets without tuning, for the strategies that need several.

    Notes
    -----
    *Logistic*: the penalty with the least log loss in five folds.
    *Kernels*: Gaussian process regression on one 0/1 target per class, of one kernel for all, whose
    leave-one-out predictions are known in closed form; a softmax of the means with the factor that
    makes the held-out labels most probable gives probabilities.
    *Forest*: the shares of the trees; held-out ones by five folds, with a fifth of the trees each.
    *Weights*: of the least log loss of the mixture on held-out rows, by expectation maximisation,
    with a pull towards equal weights as strong as one row. No class ever has probability 0.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skal.models import TabularClassifier
    >>> X, y = load_wine(return_X_y=True, as_frame=True)
    >>> model = TabularClassifier(random_state=0).fit(X[::4], y[::4])
    >>> model.score(X, y) > 0.9
    True
    >>> model.predict_proba(X).shape
    (178, 3)
    """

    def __init__(self, preprocessor=None, *, n_estimators=100, random_state=None):
        self.preprocessor = preprocessor
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
            Their labels.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows. A row of weight 2 is one that occurs twice.

        Returns
        -------
        self : TabularClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If the table cannot be read, or a label is missing.
        """
        Z, y, weight, rng = self._prepare(X, y, sample_weight, y_numeric=False)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.weights_, self._parts = {}, {}
        if len(self.classes_) > 1:
            self._fit_parts(Z, codes, weight, rng)
        return self

    def _fit_parts(self, Z, codes, weight, rng):
        fold = deal_folds(codes, rng)
        self._parts = {
            "logistic": LogisticModel().fit(Z, codes, weight, fold),
            "kernel": _Kernel(MaternProcess()).fit(Z, codes, weight, fold, rng),
            "relevance_kernel": _Kernel(RelevanceProcess()).fit(Z, codes, weight, fold, rng),
            "forest": ClassificationForest(self.n_estimators).fit(Z, codes, weight, fold, rng),
        }
        held_out = [likelihoods(part.held_out_, codes) for part in self._parts.values()]
        shares = log_loss_weights(np.column_stack(held_out), weight)
        self.weights_ = dict(zip(self._parts, shares.tolist(), strict=True))

    def predict_proba(self, X):
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes)
            Probabilities, in the order of `classes_`.
        """
        check_is_fitted(self)
        parts = self.predict_parts(X)
        if not self.weights_:
            return parts["constant"]
        return sum(share * parts[name] for name, share in self.weights_.items())

    def predict(self, X):
        """Predict the labels of rows.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            The most probable class of each row.
        """
        P = self.predict_proba(X)
        return self.classes_[P.argmax(axis=1)]

    def predict_parts(self, X):
        """Predict the probabilities of the classes with each model of the mixture alone.

        Parameters
        ----------
        X : array-like or frame of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        probabilities : dict of str to ndarray of shape (n_samples, n_classes)
            By the names in `weights_`; "constant" where there is one class only.
        """
        Z = self._numbers(X)
        if not self._parts:
            return {"constant": np.ones((len(Z), 1))}
        return {name: floored(part.predict_proba(Z)) for name, part in self._parts.items()}


class _Kernel:
    """Gaussian process regression on the classes, and a softmax."""

    def __init__(self, process):
        self._process = process

    def fit(self, Z, codes, weight, fold, rng):
        Y = np.eye(codes.max() + 1)[codes]
        self._prior = np.average(Y, axis=0, weights=weight)
        self._process.fit(Z, Y - self._prior, weight, fold, rng)
        scores = self._process.held_out_ + self._prior
        self._factor = best_temperature(scores, codes, weight)
        self.held_out_ = softmax(self._factor * scores, axis=1)
        return self

    def predict_proba(self, Z):
        mean, _ = self._process.predict(Z)
        return softmax(self._factor * (mean + self._prior), axis=1)
