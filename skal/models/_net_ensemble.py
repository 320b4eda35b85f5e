"""Nets whose training length is chosen on held-out rows and whose seeds are averaged."""

from abc import abstractmethod
from numbers import Integral

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, clone
from sklearn.ensemble import BaseEnsemble
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skal.models._folds import deal_folds
from skal.models._likelihood import likelihoods, mean_log_loss
from skal.models._rows import as_dense, checked_weight, distinct_rows
from skal.neural_network import NeuralNetClassifier, NeuralNetRegressor
from skal.utils._compat import HasMethods, Interval, _fit_context
from skal.utils._random import child_seed, draw_seed

# The held-out loss is looked at every so many epochs, and the search ends when the best is so many
# looks behind.
EPOCHS_PER_LOOK = 5
PATIENCE = 8

# Places in the tree of seeds: what a number is drawn for.
_FOLDS, _VALIDATION, _MEMBERS = 0, 1, 2


class _NetEnsemble(BaseEnsemble):
    """Training length by folds, then several nets on all rows."""

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "partial_fit", "predict"]), None],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "n_folds": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self, estimator=None, *, n_estimators=5, max_epochs=300, n_folds=3, random_state=None
    ):
        super().__init__(estimator, n_estimators=n_estimators)
        self.max_epochs = max_epochs
        self.n_folds = n_folds
        self.random_state = random_state

    def _fit(self, X, y, sample_weight):
        """Choose `n_epochs_`, then train the members, on rows that differ."""
        weight = checked_weight(sample_weight, X)
        used = np.flatnonzero(weight)
        first, weight = distinct_rows(as_dense(X[used]), y[used], weight[used])
        X, y = X[used[first]], y[used[first]]
        weight /= weight.mean()
        seed = draw_seed(self.random_state)
        net = self._new_net()
        fold = deal_folds(y, np.random.RandomState(child_seed(seed, _FOLDS)), self.n_folds)
        self.validation_losses_ = self._validation_losses(net, X, y, weight, fold, seed)
        self.n_epochs_ = EPOCHS_PER_LOOK * (1 + int(np.argmin(self.validation_losses_)))
        self.n_epochs_ = min(self.n_epochs_, self.max_epochs)
        self.estimators_ = []
        for number in range(self.n_estimators):
            member = clone(net).set_params(
                max_epochs=self.n_epochs_, random_state=child_seed(seed, _MEMBERS, number)
            )
            self.estimators_.append(member.fit(X, y, sample_weight=weight))
        return self

    def _validation_losses(self, net, X, y, weight, fold, seed):
        """Loss of held-out rows after 5, 10, ... epochs, all folds side by side."""
        n_looks = -(-self.max_epochs // EPOCHS_PER_LOOK)
        folds = range(fold.max() + 1) if fold.max() else []
        nets = [
            clone(net).set_params(
                max_epochs=EPOCHS_PER_LOOK, random_state=child_seed(seed, _VALIDATION, number)
            )
            for number in folds
        ]
        if not nets:
            return np.zeros(1)
        losses = []
        while len(losses) < n_looks and len(losses) - np.argmin(losses or [0]) <= PATIENCE:
            loss = 0.0
            for number, part in zip(folds, nets, strict=True):
                inside, outside = fold != number, fold == number
                part.partial_fit(X[inside], y[inside], sample_weight=weight[inside])
                loss += self._loss(part, X[outside], y[outside], weight[outside])
            losses.append(loss / weight.sum())
        return np.array(losses)

    def _new_net(self):
        net = self._default_net() if self.estimator is None else clone(self.estimator)
        if not isinstance(net, self._net_class):
            raise TypeError(
                f"The 'estimator' parameter of {type(self).__name__} must be a "
                f"{self._net_class.__name__}. Got {type(net).__name__} instead. Put preprocessing "
                "in front of the ensemble, not into it."
            )
        return net

    @abstractmethod
    def _default_net(self):
        """The net that is taken where none is given."""

    @abstractmethod
    def _loss(self, net, X, y, weight):
        """Sum of the weighted losses of held-out rows."""

    def _mean_of_members(self, method, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float32, accept_sparse="csr")
        answers = [getattr(member, method)(X).astype(np.float64) for member in self.estimators_]
        return np.mean(answers, axis=0)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class NetEnsembleRegressor(RegressorMixin, _NetEnsemble):
    """Nets for regression that need no tuning of their training.

    How long a net must be trained depends on the table: too short and it underfits, too long and
    it learns few labels by heart. The number of epochs is therefore that of the least error on
    held-out rows of the labelled ones; then several nets that differ in their seeds are trained on
    all of them, and their predictions averaged, which makes up for the chance in each.

    Parameters
    ----------
    estimator : NeuralNetRegressor or None, default=None
        The net. Its `max_epochs` and `random_state` are not used. None is a perceptron of one
        hidden layer of 100 units with dropout 0.1, in batches of 16, on the standardised target.

    n_estimators : int, default=5
        Nets that are averaged.

    max_epochs : int, default=300
        Epochs at most. The search stops when 40 epochs have brought no less error.

    n_folds : int, default=3
        Folds of the labelled rows, each held out once.

    random_state : int, RandomState or None, default=None
        Seeds folds and nets.

    Attributes
    ----------
    n_epochs_ : int
        The epochs chosen.

    validation_losses_ : ndarray of shape (n_looks,)
        Mean squared error of held-out rows after 5, 10, ... epochs, in squared units of the target.

    estimators_ : list of NeuralNetRegressor
        The fitted nets.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    NetEnsembleClassifier : The same for classification.
    TabularRegressor : On small tables as a rule better, and faster.

    Notes
    -----
    It takes numbers, like the nets: put :class:`~skal.preprocessing.TablePreprocessor` in front of
    it in a pipeline. Strategies for ensembles (:class:`~skal.strategies.QueryByCommittee`) see its
    nets as members; strategies that read features or gradients need one net, not several.

    A repeated row is one of double weight, and no row is held out while its double is learnt from.

    The folds train side by side, so that the search costs `n_folds` trainings of at most 40 epochs
    more than are chosen; the nets then cost `n_estimators` trainings.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skal.models import NetEnsembleRegressor
    >>> from skal.preprocessing import TablePreprocessor
    >>> X, y = make_regression(n_samples=100, n_features=3, random_state=0)
    >>> nets = NetEnsembleRegressor(n_estimators=2, max_epochs=40, random_state=0)
    >>> model = make_pipeline(TablePreprocessor(), nets).fit(X[:60], y[:60])
    >>> model.score(X[60:], y[60:]) > 0.8
    True
    """

    _net_class = NeuralNetRegressor

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None):
        """Choose the training length and train the nets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The labelled rows, numbers.

        y : array-like of shape (n_samples,)
            Their targets.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the losses.

        Returns
        -------
        self : NetEnsembleRegressor
            The fitted ensemble.
        """
        X, y = validate_data(self, X, y, dtype=np.float32, accept_sparse="csr", y_numeric=True)
        y = y.astype(np.float64)
        return self._fit(X, y, sample_weight)

    def predict(self, X):
        """Predict the targets of rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            The mean of the nets' predictions.
        """
        return self._mean_of_members("predict", X)

    def _default_net(self):
        return NeuralNetRegressor(standardize_y=True, batch_size=16, module__dropout=0.1)

    def _loss(self, net, X, y, weight):
        return weight @ (net.predict(X) - y) ** 2


class NetEnsembleClassifier(ClassifierMixin, _NetEnsemble):
    """Nets for classification that need no tuning of their training.

    The number of epochs is that of the least log loss on held-out rows of the labelled ones; then
    several nets that differ in their seeds are trained on all of them, and their probabilities
    averaged.

    Parameters
    ----------
    estimator : NeuralNetClassifier or None, default=None
        The net. Its `max_epochs`, `classes` and `random_state` are not used. None is a perceptron
        of one hidden layer of 100 units with dropout 0.1, in batches of 16.

    n_estimators : int, default=5
        Nets that are averaged.

    max_epochs : int, default=300
        Epochs at most. The search stops when 40 epochs have brought no lower loss.

    n_folds : int, default=3
        Folds of the labelled rows, each held out once.

    random_state : int, RandomState or None, default=None
        Seeds folds and nets.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes seen in `fit`, sorted.

    n_epochs_ : int
        The epochs chosen.

    validation_losses_ : ndarray of shape (n_looks,)
        Log loss of held-out rows after 5, 10, ... epochs.

    estimators_ : list of NeuralNetClassifier
        The fitted nets, for the positions of the classes.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    NetEnsembleRegressor : The same for regression. Its notes hold here, too.
    TabularClassifier : On small tables as a rule better, and faster.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from skal.models import NetEnsembleClassifier
    >>> from skal.preprocessing import TablePreprocessor
    >>> X, y = load_wine(return_X_y=True)
    >>> nets = NetEnsembleClassifier(n_estimators=2, max_epochs=20, random_state=0)
    >>> model = make_pipeline(TablePreprocessor(), nets).fit(X[::4], y[::4])
    >>> model.score(X, y) > 0.9
    True
    """

    _net_class = NeuralNetClassifier

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None):
        """Choose the training length and train the nets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The labelled rows, numbers.

        y : array-like of shape (n_samples,)
            Their labels.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the losses.

        Returns
        -------
        self : NetEnsembleClassifier
            The fitted ensemble.
        """
        X, y = validate_data(self, X, y, dtype=np.float32, accept_sparse="csr")
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        return self._fit(X, codes, sample_weight)

    def predict(self, X):
        """Predict the labels of rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            The most probable class of each row.
        """
        P = self.predict_proba(X)
        return self.classes_[P.argmax(axis=1)]

    def predict_proba(self, X):
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes)
            Means of the nets' probabilities, in the order of `classes_`.
        """
        return self._mean_of_members("predict_proba", X)

    def _default_net(self):
        return NeuralNetClassifier(batch_size=16, module__dropout=0.1)

    def _new_net(self):
        # Folds may miss a class; members are trained on positions, as those of a forest are.
        return super()._new_net().set_params(classes=np.arange(len(self.classes_)))

    def _loss(self, net, X, y, weight):
        return weight.sum() * mean_log_loss(likelihoods(net.predict_proba(X), y), weight)
