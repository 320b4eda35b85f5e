"""The bases of query strategies: what a strategy reads, represents and chooses.

`QueryStrategy` binds to a fitted estimator, and chooses from what `_represent` says of the rows, so
that a new strategy is one method; `SelectingStrategy` lets users exchange the selector.
"""

import warnings
from copy import copy
from functools import cached_property

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MetaEstimatorMixin,
    TransformerMixin,
    clone,
)
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skal.selection import TopK
from skal.utils._compat import HasMethods, _fit_context
from skal.utils._nesting import is_fitted
from skal.utils._random import child_seed, draw_seed, set_random_states
from skal.utils._rows import as_rows
from skal.utils._tables import n_rows, take_rows
from skal.utils._tags import QueryStrategyTags, extend_tags
from skal.utils.validation import check_n_instances, validate_rows
from skal.views import ModelView
from skal.views._checks import check_finite_scores
from skal.views._preprocessing import fit_preprocessing

_TASK_NAMES = {"classifier": "classification", "regressor": "regression"}


class QueryStrategy(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, MetaEstimatorMixin, BaseEstimator
):
    """Base class of query strategies.

    A strategy turns rows into a representation (scores or embeddings), each row on its own
    (`transform`), and the pool into the positions of the rows to label next (`query`). Inside an
    :class:`~skal.ActiveLearner` it reads the learner's fitted estimator; alone, it is a transformer
    around an estimator of its own.

    A subclass writes `_represent`, and says in two class attributes what it needs and which
    selector picks the batch. Derive from :class:`SelectingStrategy` where users may exchange the
    selector, and write `_choose`, too, where a batch is more than what a selector picks.

    Parameters
    ----------
    estimator : estimator or None, default=None
        What the strategy reads. None means the estimator of the learner it is plugged into. An
        unfitted estimator is cloned and fitted in `fit`; a ``FrozenEstimator`` is used as it is.

    device : str or None, default=None
        Where the numerics run ("cpu", "cuda:1"). None is the device of the net, or the CPU where
        the estimator holds no net.

    random_state : int, RandomState or None, default=None
        Seeds ties and draws. Resolved once, in `fit`: asking twice gives the same rows.

    Attributes
    ----------
    estimator_ : estimator or None
        The fitted estimator that is read. None before any label is known.

    n_features_in_ : int
        Number of columns seen in `fit`. Defined for rows that have columns.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    SelectingStrategy : Chooses with a batch selector.
    skal.ActiveLearner : Plugs a strategy into an estimator.

    Notes
    -----
    What a subclass may define:

    ``_represent(X)``
        a 1-D float64 array or tensor of shape (n_samples,), a score per row, larger asked first;
        or :class:`~skal.selection.Rows` (dense or factored), a 2-D array or a 2-D tensor, an
        embedding per row. It treats every row on its own: the representation of a row never
        depends on the others.
    ``_choose(X, n_instances, seed, return_scores)``
        positions (n_instances,) in `X`, which has been checked, and scores (n_pool,) or None.
    ``_fit_labeled(X, y)``
        keeps what counts of the labelled rows.
    ``_fit_unlabeled(X_pool, estimator)``
        keeps what counts of a pool before any label is known; here the fitted preprocessing.
    ``prepare_estimator(estimator)``
        adds to an unfitted estimator what must be recorded while it trains.
    ``_default_selector``
        a :class:`~skal.selection.BatchSelector`, cloned for every query; the largest scores unless
        a subclass names another.
    ``_query_tags``
        a :class:`QueryStrategyTags`: what it needs, and which tasks it serves.
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"]), None],
        "device": [str, None],
        "random_state": ["random_state"],
    }

    # What a subclass says of itself.
    _query_tags = QueryStrategyTags()
    _default_selector = TopK()
    _rows_labeled = None
    # What to use where the strategy does not serve the task.
    _instead = {"classifier": "ForestVariance or MarginSampling", "regressor": "ForestVariance"}

    def __init__(self, estimator=None, *, device=None, random_state=None):
        self.estimator = estimator
        self.device = device
        self.random_state = random_state

    def _represent(self, X):
        """Return the scores (n_samples,) or embeddings (n_samples, d) of the rows of `X`."""
        raise NotImplementedError(f"{type(self).__name__} must define _represent(X).")

    def _choose(self, X, n_instances, seed, return_scores):
        """Positions (n_instances,) of the rows to label next, and scores (n_pool,) or None.

        `X` and `n_instances` have been checked. Overridden where a batch is more than what a
        selector picks from the representation.
        """
        rows, scores = self._pool_representation(X)
        selector = self._batch_selector(X)
        set_random_states(selector, seed)
        chosen = selector.select(
            rows,
            n_instances,
            Z_labeled=self._rows_labeled,
            scores=scores,
            return_scores=return_scores,
        )
        return chosen if return_scores else (chosen, None)

    def _batch_selector(self, X):
        """Return a selector of its own for a query over the pool `X`."""
        return clone(self._default_selector)

    def _pool_representation(self, X):
        """What the selector sees of a pool: embeddings (Rows) and scores (ndarray or None).

        Overridden where the representation of a row depends on the rest of the pool.
        """
        return self._representation(X)

    def _fit_labeled(self, X, y):
        """Keep what counts of the labelled rows: their representation, if it changes the choice."""
        conditioned = self._own_tags().conditioned_on_labeled
        self._rows_labeled = self._representation(X)[0] if conditioned else None

    def _fit_unlabeled(self, X_pool, estimator):
        """Keep what counts of a pool before any label is known: the inputs' preprocessing."""
        self._preprocessor = fit_preprocessing(estimator, X_pool)

    def prepare_estimator(self, estimator):
        """Add to an estimator what must be recorded while it trains.

        A learner calls this before it trains.

        Parameters
        ----------
        estimator : estimator
            Unfitted, and the learner's own: it may be changed.

        Returns
        -------
        estimator : estimator
            What to train. Here `estimator` as it is.
        """
        return estimator

    # ------------------------------------------------------------------ public methods

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Bind the strategy to its estimator and to the labelled rows.

        Parameters
        ----------
        X : array-like of shape (n_labeled, n_features)
            The labelled rows.

        y : array-like of shape (n_labeled,) or (n_labeled, n_outputs), default=None
            Their labels; used only where `estimator` is not fitted yet.

        Returns
        -------
        self : QueryStrategy
            The fitted strategy.

        Raises
        ------
        ValueError
            If the strategy needs an estimator and has none, or does not serve its task.
        """
        X = validate_rows(self, X, reset=True)
        self.estimator_ = self._fit_estimator(X, y)
        self._preprocessor = None
        self._check_task(self.estimator_)
        self._seed = draw_seed(self.random_state)
        self._forget_rows()
        self._one_row = take_rows(X, [0])
        if not self._knows_one_class():
            self._fit_labeled(X, y)
        return self

    def fit_pool(self, X_pool, estimator=None):
        """Bind the strategy before any label is known, for one query over a pool.

        Parameters
        ----------
        X_pool : array-like of shape (n_pool, n_features)
            The pool.

        estimator : estimator or None, default=None
            The unfitted estimator that will learn. The preprocessing in front of its predictor is
            fitted on the pool itself.

        Returns
        -------
        self : QueryStrategy
            Ready for `query`, if its tags say that it requires no fitted estimator.

        Raises
        ------
        ValueError
            If the preprocessing cannot be fitted without labels.
        """
        self._validate_params()
        X_pool = validate_rows(self, X_pool, reset=True)
        self.estimator_ = None
        self._check_task(estimator)
        self._seed = draw_seed(self.random_state)
        self._forget_rows()
        self._fit_unlabeled(X_pool, estimator)
        return self

    def transform(self, X):
        """Represent rows, each on its own.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the columns seen in `fit`.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components), dtype float32
            A score (one column) or an embedding per row: what the selector works on.
        """
        check_is_fitted(self)
        return self._transform(X)

    def query(self, X, n_instances=1, *, return_scores=False):
        """Choose the rows of a pool to label next.

        Parameters
        ----------
        X : array-like of shape (n_pool, n_features)
            The pool.

        n_instances : int, default=1
            How many rows to choose, at most `n_pool`.

        return_scores : bool, default=False
            Whether to return the value each row had before the first was chosen, too.

        Returns
        -------
        rows : ndarray of shape (n_instances,), dtype int64
            Distinct positions in `X`, in order of choice.

        scores : ndarray of shape (n_pool,), dtype float64
            What the selector saw in each row, larger first: the score, or for selectors of diverse
            rows the distance to the nearest centre. Strategies that choose without a selector say
            in their notes what they return. Only with ``return_scores=True``.

        Raises
        ------
        ValueError
            If `n_instances` is not between 1 and `n_pool`, the model answers NaN or infinity, or
            what a strategy must keep would not fit into memory.
        """
        check_is_fitted(self)
        X = validate_rows(self, X, reset=False)
        n_instances = check_n_instances(n_instances, n_rows(X), "X_pool")
        seed = child_seed(self._seed, 1)
        if self._knows_one_class():
            rows, scores = self._draw(n_rows(X), n_instances, seed)
        else:
            rows, scores = self._choose(X, n_instances, seed, return_scores)
        return (rows, scores) if return_scores else rows

    def _knows_one_class(self):
        """Whether a model of a single class is all there is to tell rows apart by."""
        classes = getattr(self.estimator_, "classes_", None)
        if classes is None or isinstance(classes, list) or len(classes) != 1:
            return False
        return self._reads_classes()

    def _reads_classes(self):
        """Whether rows are told apart by what a model says of its classes.

        Not asked of scores of probabilities alone, which refuse a single class.
        """
        needs = set(self._own_tags().needs)
        return needs != {"probabilities"} and bool(needs - {"features", "predictions"})

    def _draw(self, n_pool, n_instances, seed):
        """Positions drawn at random, and scores that are all 0."""
        warnings.warn(
            f"All labels so far are of one class ({self.estimator_.classes_[0]}), by a model of "
            f"which {type(self).__name__} cannot tell rows apart: it draws at random. Label a row "
            "of another class, or give a net all its classes (classes=).",
            UserWarning,
            stacklevel=3,
        )
        rows = np.random.RandomState(seed).permutation(n_pool)[:n_instances]
        return rows, np.zeros(n_pool)

    # ------------------------------------------------------------------ binding

    def _fit_estimator(self, X, y):
        """Return the fitted estimator to read: the frozen one, or a fitted clone, or None."""
        if self.estimator is None:
            if self._own_tags().requires_fitted_estimator:
                raise ValueError(
                    f"{type(self).__name__}.estimator is None: pass an estimator, or use it inside "
                    "an ActiveLearner, which supplies its own."
                )
            return None
        if isinstance(self.estimator, FrozenEstimator):
            if not is_fitted(self.estimator.estimator):
                check_is_fitted(self.estimator.estimator)
            return self.estimator.estimator
        estimator = self.prepare_estimator(clone(self.estimator))
        set_random_states(estimator, draw_seed(self.random_state), only_missing=True)
        fitted = estimator.fit(X, y)
        return estimator if fitted is None else fitted

    def _check_task(self, estimator):
        """Raise ValueError unless the strategy serves what `estimator` predicts."""
        if estimator is None:
            return
        task, tasks = get_tags(estimator).estimator_type, self._own_tags().tasks
        if task in _TASK_NAMES and task not in tasks:
            served = " and ".join(_TASK_NAMES[name] for name in tasks)
            raise ValueError(
                f"{type(self).__name__} serves {served}. Got {type(estimator).__name__}, which is "
                f"a {task}, instead. For {_TASK_NAMES[task]}, use for instance "
                f"{self._instead[task]}."
            )

    @property
    def view(self):
        """What can be read off the fitted estimator: a :class:`~skal.views.ModelView`."""
        return ModelView(
            self.estimator_,
            device=self.device,
            needed_by=type(self).__name__,
            preprocessor=self._preprocessor,
        )

    # What strategies of others read before there was a view.

    def _probabilities(self, X):
        _moved("_probabilities(X)", "view.probabilities(X)")
        return self.view.probabilities(X)

    def _inputs(self, X):
        _moved("_inputs(X)", "view.inputs(X)")
        return self.view.inputs(X)

    def _net_view(self):
        _moved("_net_view()", "view.net")
        return self.view.net

    # ------------------------------------------------------------------ plumbing

    def _representation(self, X):
        """Return `_represent(X)` as embeddings (Rows) and scores (ndarray or None), checked."""
        Z = self._represent(X)
        found, expected = Z.shape[0], n_rows(X)
        if found != expected:
            raise ValueError(
                f"{type(self).__name__} must represent every row: a score or an embedding for each "
                f"of the {expected} rows of X. Got {found} instead."
            )
        return self._read(Z)

    def _read(self, Z):
        """Split what a strategy found of rows into embeddings (Rows) and scores, both checked."""
        if getattr(Z, "ndim", 2) == 1:
            scores = np.asarray(Z.cpu() if isinstance(Z, torch.Tensor) else Z, dtype=np.float64)
            check_finite_scores(scores, type(self).__name__)
            return as_rows(scores[:, None]), scores
        return self._checked(Z), None

    def _checked(self, Z):
        """Embeddings as Rows, with the norms that the selector needs; raises where one is NaN."""
        rows = as_rows(Z)
        rows.sq_norms(f"The representation of {type(self).__name__}")
        return rows

    def _transform(self, X):
        X = validate_rows(self, X, reset=False)
        rows, _ = self._representation(X)
        return rows.dense().to("cpu", torch.float32).numpy()

    @cached_property
    def _n_features_out(self):
        """Width of the representation, asked for by `get_feature_names_out` alone."""
        return self._representation(self._one_row)[0].shape[1]

    def _forget_rows(self):
        for name in ("_n_features_out", "_one_row", "_rows_labeled"):
            vars(self).pop(name, None)

    def _own_tags(self):
        return get_tags(self).query_strategy_tags

    def __sklearn_tags__(self):
        tags = extend_tags(super().__sklearn_tags__())
        tags.query_strategy_tags = copy(self._query_tags)
        tags.transformer_tags.preserves_dtype = []
        if self.estimator is None:
            tags.input_tags.sparse = True
        else:
            inner = get_tags(self.estimator)
            tags.input_tags = inner.input_tags
            tags.target_tags = inner.target_tags
            tags.non_deterministic = inner.non_deterministic
            tags.classifier_tags = inner.classifier_tags
            tags.regressor_tags = inner.regressor_tags
            tags.target_tags.required = not isinstance(self.estimator, FrozenEstimator)
        return tags


class SelectingStrategy(QueryStrategy):
    """Base class of query strategies that choose with a batch selector.

    A subclass writes one method, `_represent`, and says in two class attributes what it needs and
    who selects by default.

    Parameters
    ----------
    estimator : estimator or None, default=None
        What the strategy reads. None means the estimator of the learner it is plugged into. An
        unfitted estimator is cloned and fitted in `fit`; a ``FrozenEstimator`` is used as it is.

    selector : BatchSelector or None, default=None
        Picks the batch from the representation. None is the default of the strategy.

    device : str or None, default=None
        Where the numerics run ("cpu", "cuda:1"). None is the device of the net, or the CPU where
        the estimator holds no net.

    random_state : int, RandomState or None, default=None
        Seeds ties and draws. Resolved once, in `fit`: asking twice gives the same rows.

    Attributes
    ----------
    estimator_ : estimator or None
        The fitted estimator that is read. None before any label is known.

    n_features_in_ : int
        Number of columns seen in `fit`. Defined for rows that have columns.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    QueryStrategy : Says what a subclass may define.

    Notes
    -----
    It differs from :class:`QueryStrategy` in the parameter `selector` alone.
    """

    _parameter_constraints: dict = {
        **QueryStrategy._parameter_constraints,
        "selector": [HasMethods(["select"]), None],
    }

    def __init__(self, estimator=None, *, selector=None, device=None, random_state=None):
        super().__init__(estimator, device=device, random_state=random_state)
        self.selector = selector

    def _batch_selector(self, X):
        """Return a selector of its own for a query over the pool `X`."""
        return clone(self._default_selector if self.selector is None else self.selector)


def bind(strategy, estimator):
    """Fill the placeholders (``estimator=None``) of a strategy and of those nested in it."""
    for value in [strategy, *strategy.get_params(deep=True).values()]:
        if isinstance(value, QueryStrategy) or value is strategy:
            if getattr(value, "estimator", estimator) is None:
                value.set_params(estimator=estimator)


def _moved(old, new):
    warnings.warn(
        f"self.{old} of query strategies is self.{new} now. The old name goes in version 0.3.",
        DeprecationWarning,
        stacklevel=3,
    )
