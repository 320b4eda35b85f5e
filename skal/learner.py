"""The active learner: an estimator that learns from labelled rows and says which to label next."""

import warnings
from copy import copy, deepcopy

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skal._recommend import recommend
from skal.neural_network._seed import preserved_generators
from skal.neural_network._training import train
from skal.strategies import QueryStrategy, RandomSampling
from skal.strategies._base import bind
from skal.utils._compat import (
    HasMethods,
    Predictor,
    StrOptions,
    _fit_context,
    _raise_for_params,
    _routing_enabled,
)
from skal.utils._corrections import CorrectingMixin
from skal.utils._delegation import DelegatingMixin, held_has
from skal.utils._labels import check_labels
from skal.utils._ledger import added, resumed, started
from skal.utils._metadata import fit_arguments, score_arguments, take_params
from skal.utils._nesting import (
    check_warm_start,
    declared_classes,
    enable_warm_start,
)
from skal.utils._random import child_seed, draw_seed, set_random_states
from skal.utils._repeats import count_repeats, same_rows
from skal.utils._semi_supervised import learnt_rows, restore_classes
from skal.utils._tables import n_rows, take_rows
from skal.utils._tags import inherit_tags
from skal.utils.validation import (
    COLUMN_ATTRIBUTES,
    as_target,
    check_n_instances,
    check_positions,
    check_same_length,
    is_labeled,
    labeled_target,
    validate_rows,
)


def _estimator_has(method):
    """Whether the estimator given has `method`, fitted or not."""
    return lambda self: hasattr(self.estimator, method)


# Places in the tree of seeds: what a number is drawn for.
_TRAIN, _QUERY = 0, 1


class ActiveLearner(CorrectingMixin, DelegatingMixin, MetaEstimatorMixin, BaseEstimator):
    """An estimator with a query strategy: learns from labelled rows, asks for the next ones.

    The loop is `fit` on the first labelled rows, then again and again `query` a pool for the rows
    whose labels would help most, and `teach` them. Between rounds the learner predicts like the
    estimator it holds, and it is a classifier or a regressor as that one is, so it goes into
    ``cross_validate``, ``GridSearchCV`` and the other tools of scikit-learn.

    Parameters
    ----------
    estimator : estimator
        Any scikit-learn classifier or regressor: pipelines, ``TransformedTargetRegressor``,
        searches, the nets of :mod:`skal.neural_network`, plain skorch nets. It is cloned, never
        changed.

    query_strategy : QueryStrategy, "auto" or None, default=None
        Chooses the rows. Its own `estimator` is left at None: it reads the learner's. None is
        :class:`~skal.strategies.RandomSampling`. "auto" is what :func:`skal.recommend` says for the
        pool of each query and the labels known then.

    warm_start : bool, default=False
        Whether `teach` goes on from the present weights instead of training afresh. The predictor
        must have a `warm_start` of its own. Rounds trained afresh are easier to compare.

    random_state : int, RandomState or None, default=None
        Seeds training and queries. Every `random_state` inside that is None gets a seed of its
        own, and torch is seeded while the estimator trains.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.

    query_strategy_ : QueryStrategy
        A clone of `query_strategy` as it was at the last training, or random sampling, or what
        was recommended for the labelled rows.

    X_labeled_ : array-like of shape (n_labeled, n_features)
        The labelled rows, in the kind of container given to `fit`.

    y_labeled_ : array-like of shape (n_labeled,) or (n_labeled, n_outputs)
        Their labels.

    n_labeled_ : int
        How many there are.

    n_rounds_ : int
        How many times `teach` has added labels since `fit`.

    classes_ : ndarray of shape (n_classes,)
        The classes, where the estimator has them.

    n_features_in_ : int
        Number of columns seen in `fit`. Defined for rows that have columns.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    skal.model_selection.BudgetedActiveLearner : Spends a whole budget of labels in `fit`.
    skal.model_selection.compare_strategies : Compares strategies on labelled data.

    Notes
    -----
    `query` is a pure question. Its random numbers come from `random_state` and the number of
    rounds, so that asking again before `teach` gives the same rows, and the next round draws
    afresh. `teach` checks everything before it changes anything, then keeps the labels, then
    trains: if the training fails or is interrupted, the labels stay, the previous model stays in
    use, and `refit` trains again.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal import ActiveLearner
    >>> from skal.strategies import MarginSampling
    >>> X, y = load_digits(return_X_y=True)
    >>> learner = ActiveLearner(LogisticRegression(max_iter=2000), MarginSampling(), random_state=0)
    >>> learner = learner.fit(X[:50], y[:50])
    >>> rows = learner.query(X[50:], n_instances=10)
    >>> learner.teach(X[50:][rows], y[50:][rows]).n_labeled_
    60
    """

    _parameter_constraints: dict = {
        "estimator": [Predictor(["fit", "predict"])],
        "query_strategy": [HasMethods(["fit", "query"]), StrOptions({"auto"}), None],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(self, estimator, query_strategy=None, *, warm_start=False, random_state=None):
        self.estimator = estimator
        self.query_strategy = query_strategy
        self.warm_start = warm_start
        self.random_state = random_state

    # ------------------------------------------------------------------ learning

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, **fit_params):
        """Forget everything and learn from the labelled rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows: array of any number of dimensions, sparse matrix, pandas or polars frame, dict
            of arrays, or a one-dimensional collection of objects (texts, paths, signals of unequal
            length), as the estimator takes it. A copy is kept; memory-mapped arrays stay where
            they are.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels. NaN in a float `y`, None or NaN in an object `y` and what is masked in a
            masked array mark unlabelled rows, which `query` without a pool asks about.

        **fit_params : dict
            `sample_weight` is passed to the predictor at the end of the estimator, anything else
            through metadata routing, where that is switched on. Per-row values are cut to the
            labelled rows.

        Returns
        -------
        self : ActiveLearner
            The fitted learner.

        Raises
        ------
        TypeError
            If the rows would have to be read from elsewhere: a data set on disk, a lazy frame.
        ValueError
            If no row has a label, or `warm_start` cannot work with the estimator.
        """
        _raise_for_params(fit_params, self, "fit", allow=["sample_weight"])
        if y is None:
            # The wording scikit-learn's own checks look for.
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        if self.warm_start:
            check_warm_start(self.estimator)
        # Validated on a copy: if this fit fails, n_features_in_ must still describe the previous
        # model.
        seen = copy(self)
        X, y = validate_rows(seen, X, reset=True), as_target(y)
        check_same_length(X, y)
        labeled = is_labeled(y)
        if not labeled.any():
            raise ValueError(
                f"y has no labelled row (all {len(labeled)} values are NaN or None). Label at "
                "least one row before fit; query(X_pool) before fit chooses the first ones."
            )
        check_labels(labeled_target(y, labeled), None, task=_task(self.estimator))
        state = {"_root_seed": draw_seed(self.random_state), "n_rounds_": 0}
        state |= started(X, y, labeled, fit_params)
        self._begin(state | self._train(state, None), seen)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def restore(self, X, rows, labels, n_rounds, root_seed):
        """Take the state that `fit` and `teach` led to, and train once.

        A session on disk resumes with it: the learner then asks what the one would ask that lived
        through all rounds, without training for each of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            All rows, labelled or not, as given to `fit`.

        rows : array-like of shape (n_answered,), int
            Positions in `X` of the rows that need not be asked about any more, in the order in
            which they were learnt from.

        labels : array-like of shape (n_answered,) or (n_answered, n_outputs)
            Their labels. A missing one (NaN, None) is a row that is neither learnt from nor
            asked about.

        n_rounds : int
            How many times `teach` has added labels since `fit`, the `n_rounds_` of then.

        root_seed : int
            What the seeds of all rounds follow from, in place of `random_state`.

        Returns
        -------
        self : ActiveLearner
            The learner, with a newly trained `estimator_`. With ``warm_start=True`` a fitted
            learner goes on from its present weights; the path that led to the weights of then
            cannot be restored.

        Raises
        ------
        ValueError
            If `rows` are no distinct positions in `X`, do not fit the labels, or none has a label.
        """
        if self.warm_start:
            check_warm_start(self.estimator)
        seen = copy(self)
        X, labels = validate_rows(seen, X, reset=True), as_target(labels)
        answered = np.zeros(n_rows(X), dtype=bool)
        rows = check_positions(rows, answered, "X")
        check_same_length(rows, labels)
        known = is_labeled(labels)
        if not known.any():
            raise ValueError(f"labels has no label (all {len(known)} values are NaN or None).")
        answered[rows] = True
        state = {"_root_seed": int(root_seed), "n_rounds_": int(n_rounds)}
        state |= resumed(X, rows, labels, known, answered)
        warm = self.warm_start and self.__sklearn_is_fitted__()
        self._begin(state | self._train(state, self.estimator_ if warm else None), seen)
        return self

    def teach(self, X, y, *, rows=None, **fit_params):
        """Add labelled rows and train again.

        Everything is checked first: labels of another kind, outside the classes there may be or
        infinite, columns of another type, rows that the model cannot read are refused, and a bad
        call changes nothing. Then the labels are kept, and then the estimator is trained. If that
        fails or is interrupted, the labels stay, the previous model stays in use, and `refit`
        trains again. `forget` takes labels back, `relabel` corrects them.

        Parameters
        ----------
        X : array-like of shape (n_new, n_features) or None
            The newly labelled rows, in the kind of container given to `fit`. Columns are cast to
            the types they have there. May be None where `rows` is given.

        y : array-like of shape (n_new,) or (n_new, n_outputs)
            Their labels. A missing label (NaN, None) says that the annotator refused the row: it
            is not learnt from and, where `rows` is given, not asked again.

        rows : array-like of shape (n_new,), default=None
            Which rows of the last `fit` these are: the answer of ``query()`` without a pool. They
            are not asked again.

        **fit_params : dict
            As in `fit`: `sample_weight`, or through metadata routing. Per-row values given to `fit`
            must be given here too, for the new rows.

        Returns
        -------
        self : ActiveLearner
            The learner, trained on all labels so far. A learner that was never fitted is fitted.

        Raises
        ------
        ValueError
            If rows, columns and labels do not fit together or with what was learnt from before,
            `X` is not what is at `rows`, or no new label is given.

        Warns
        -----
        UserWarning
            If some of the rows are labelled already, as when a cell of a notebook runs twice.
        """
        if not self.__sklearn_is_fitted__() and rows is None:
            return self.fit(X, y, **fit_params)
        check_is_fitted(self)
        _raise_for_params(fit_params, self, "fit", allow=["sample_weight"])
        if y is None:
            raise ValueError("teach requires y to be passed, but the target y is None.")
        rows = self._check_rows(rows)
        X, y = self._rows_to_teach(X, rows), as_target(y)
        check_same_length(X if rows is None else rows, y)
        known = is_labeled(y)
        if not known.any() and rows is None:
            raise ValueError(f"y has no label (all {n_rows(y)} values are NaN or None).")
        if known.any():
            self._check_labels(labeled_target(y, known), self.y_labeled_)
        changes = added(vars(self), X, y, rows, fit_params)
        if not known.any():
            vars(self).update(changes)
            return self
        if rows is None:
            self._warn_of_repeats(changes)
        trained = self._train_if_in_doubt(changes)
        vars(self).update(changes)
        if trained is None:
            return self.refit()
        self._commit(trained)
        return self

    def refit(self):
        """Train on all labels so far, as `teach` does after adding some.

        Use it after a training that failed or was interrupted. The same round trains from the
        same seed, so a training that succeeded gives the same model again (with
        ``warm_start=True`` it goes on from the present weights).

        Returns
        -------
        self : ActiveLearner
            The learner with a newly trained `estimator_`.
        """
        check_is_fitted(self)
        warm = self.estimator_ if self.warm_start and not self._from_scratch else None
        try:
            trained = self._train(vars(self), warm)
        except BaseException as error:
            error.add_note(self._note_of_failure())
            raise
        self._commit(trained)
        return self

    @available_if(_estimator_has("set_callbacks"))
    def set_callbacks(self, *callbacks):
        """Set scikit-learn's callbacks on the estimator of every training.

        Defined where the estimator has them (scikit-learn 1.9 and later).

        Parameters
        ----------
        *callbacks : callbacks
            What the estimator's own `set_callbacks` takes; none removes those there are.

        Returns
        -------
        self : ActiveLearner
            The learner.
        """
        clone(self.estimator).set_callbacks(*callbacks)
        vars(self).pop("_skl_callbacks", None)
        if callbacks:
            self._skl_callbacks = list(callbacks)
        return self

    # ------------------------------------------------------------------ asking

    def query(self, X_pool=None, n_instances=1, *, return_scores=False):
        """Choose the rows to label next.

        Asking changes nothing, and asking again before `teach` gives the same rows.

        Parameters
        ----------
        X_pool : array-like of shape (n_pool, n_features) or None, default=None
            The rows to choose from. None means the rows of the last `fit` that have no label yet,
            and the answer holds positions in the X of that `fit`:
            ``y[rows] = labels; learner.fit(X, y)`` is then a whole round, and so is
            ``learner.teach(None, labels, rows=rows)``.

        n_instances : int, default=1
            How many rows to choose, at most as many as there are.

        return_scores : bool, default=False
            Whether to return what the selector saw in each row, too.

        Returns
        -------
        rows : ndarray of shape (n_instances,), dtype int64
            Distinct positions in `X_pool`, in order of choice.

        scores : ndarray of shape (n_pool,), dtype float64
            The value of each row before the first was chosen, larger first; NaN for rows that
            could not be chosen. Only with ``return_scores=True``.

        Raises
        ------
        NotFittedError
            If the learner has seen no label yet and the strategy needs a fitted estimator.
        ValueError
            If `n_instances` is not between 1 and the number of rows, or the pool has other columns
            than the training data.
        """
        if X_pool is not None:
            fitted = self.__sklearn_is_fitted__()
            X_pool = validate_rows(self if fitted else clone(self), X_pool, reset=not fitted)
            n_instances = check_n_instances(n_instances, n_rows(X_pool))
            strategy = self._bound_strategy(X_pool)
            return strategy.query(X_pool, n_instances, **_if_set(return_scores=return_scores))

        check_is_fitted(self)
        if self._X_given is None:
            raise ValueError(
                "query() without X_pool asks about the unlabelled rows of the last fit, and every "
                "row of it had a label. Pass X_pool, or fit with a partly labelled y (NaN or None "
                "where the label is missing)."
            )
        candidates = np.flatnonzero(~self._answered)
        name = "the unlabelled rows of the last fit"
        n_instances = check_n_instances(n_instances, len(candidates), name)
        pool = take_rows(self._X_given, candidates)
        answer = self._bound_strategy(pool).query(
            pool, n_instances, **_if_set(return_scores=return_scores)
        )
        if not return_scores:
            return candidates[answer]
        scores = np.full(len(self._answered), np.nan)
        scores[candidates] = answer[1]
        return candidates[answer[0]], scores

    def _bound_strategy(self, pool):
        """Return a fitted copy of the strategy that reads this learner's estimator."""
        fitted = self.__sklearn_is_fitted__()
        if fitted:
            strategy = clone(self.query_strategy_)
            if isinstance(self.query_strategy, str):
                strategy = self._new_strategy(pool, self.y_labeled_)
            seed = child_seed(self._root_seed, _QUERY, self.n_rounds_)
        else:
            self._validate_params()
            strategy = self._new_strategy(pool, None)
            if self.random_state is None:
                # Kept, so that asking twice gives the same rows here too.
                self._cold_seed = getattr(self, "_cold_seed", None) or draw_seed(None)
                seed = child_seed(self._cold_seed)
            else:
                # Of a copy: asking must not advance a generator.
                seed = child_seed(draw_seed(deepcopy(self.random_state)))
        set_random_states(strategy, seed)
        if not fitted:
            return self._cold_strategy(strategy, pool)
        bind(strategy, FrozenEstimator(self.estimator_))
        return strategy.fit(self.X_labeled_, self.y_labeled_)

    def _new_strategy(self, X, y):
        if isinstance(self.query_strategy, str):
            return recommend(self.estimator, X, y).strategy
        return RandomSampling() if self.query_strategy is None else clone(self.query_strategy)

    def _cold_strategy(self, strategy, pool):
        """Return the strategy bound to the pool alone, if it can do without a fitted model."""
        tags = getattr(get_tags(strategy), "query_strategy_tags", None)
        if tags is None or tags.requires_fitted_estimator:
            raise NotFittedError(
                f"{type(strategy).__name__} needs a fitted estimator, and this "
                f"{type(self).__name__} has seen no label yet. Choose the first rows at random or "
                "by their inputs (RandomSampling(), CoreSet(space='inputs')), then call fit."
            )
        return strategy.fit_pool(pool, self.estimator)

    # ------------------------------------------------------------------ state

    def _check_rows(self, rows):
        """Return `rows` as positions in the last fit's X that have no label yet."""
        if rows is None:
            return None
        if self._X_given is None:
            raise ValueError(
                "'rows' are positions in the X of a fit with a partly labelled y, and every row "
                "of the last fit had a label. Pass the rows themselves as X."
            )
        return check_positions(rows, self._answered, "the last fit that have no label yet")

    def _rows_to_teach(self, X, rows):
        """Return the new rows, checked to be the rows they are said to be."""
        if X is None:
            if rows is None:
                raise ValueError("teach needs X, or the positions 'rows' of the last fit's rows.")
            return take_rows(self._X_given, rows)
        X = validate_rows(self, X, reset=False)
        if rows is None:
            return X
        check_same_length(X, rows, "rows")
        other = np.flatnonzero(~same_rows(X, take_rows(self._X_given, rows)))
        if len(other):
            raise ValueError(
                f"X must hold the rows of the last fit at 'rows'. Got other rows at "
                f"{rows[other].tolist()[:10]} instead. Pass X=None, which takes them from there."
            )
        return X

    def _check_labels(self, y, old):
        """Raise ValueError if labels do not go with `old`, or the model cannot learn them."""
        classes, whose = declared_classes(self.estimator, self.y_labeled_)
        if classes is None and self.warm_start and hasattr(self, "classes_"):
            classes, whose = self.classes_, "the model that goes on learning (warm_start=True)"
        check_labels(y, old, task=_task(self.estimator), classes=classes, whose=whose)

    def _warn_of_repeats(self, changes):
        n_repeats = count_repeats(changes["X_labeled_"], self.n_labeled_)
        if n_repeats:
            first, last = self.n_labeled_, changes["n_labeled_"] - 1
            warnings.warn(
                f"{n_repeats} of the {last - first + 1} rows taught are labelled already and count "
                "twice from now on. If a cell ran twice, take its labels back with "
                f"forget(range({first}, {last + 1})); relabel corrects a label.",
                UserWarning,
                stacklevel=3,
            )

    def _train_if_in_doubt(self, changes):
        """Return what training gives where the present model cannot read the new rows, else None.

        Training decides then, before anything is kept: an encoder that knows its categories alone
        is fitted anew and learns another one, but no training makes a number of a text.
        """
        X = take_rows(changes["X_labeled_"], np.arange(self.n_labeled_, changes["n_labeled_"]))
        try:
            with warnings.catch_warnings(), preserved_generators():
                warnings.simplefilter("ignore")
                self.estimator_.predict(X)
            return None
        except _UNREADABLE:
            pass
        try:
            return self._train(vars(self) | changes, self.estimator_ if self.warm_start else None)
        except _UNREADABLE as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(
                f"The new rows cannot be learnt from: {error} Nothing was kept: correct the rows, "
                "and teach again."
            ) from error
        except BaseException as error:
            vars(self).update(changes)
            error.add_note(self._note_of_failure())
            raise

    def _note_of_failure(self):
        note = f"All {self.n_labeled_} labels are kept and the previous model stays in use. "
        if self._n_learnt < self.n_labeled_:
            span = f"range({self._n_learnt}, {self.n_labeled_})"
            note += (
                f"Those taught last are at {span} of X_labeled_: forget({span}) takes them back, "
                "relabel corrects them. "
            )
        return f"{note}Call refit() to train again."

    def _train(self, state, warm):
        """Return an estimator trained on the labelled rows of `state`, and the strategy for it."""
        strategy = self._new_strategy(state["X_labeled_"], state["y_labeled_"])
        seed = child_seed(state["_root_seed"], _TRAIN, state["n_rounds_"])
        if warm is None:
            estimator = clone(self.estimator)
            set_random_states(estimator, seed, only_missing=True)
            if isinstance(strategy, QueryStrategy):
                estimator = strategy.prepare_estimator(estimator)
            if self.warm_start:
                enable_warm_start(estimator)
        else:
            estimator = deepcopy(warm)
        if hasattr(self, "_skl_callbacks"):
            estimator.set_callbacks(*self._skl_callbacks)
        X, y, params = learnt_rows(self.estimator, state)
        if _routing_enabled():
            params = process_routing(self, "fit", **params)["estimator"]["fit"]
        else:
            params = fit_arguments(self.estimator, params)
        estimator = restore_classes(train(estimator, X, y, params, seed), state)
        return {
            "estimator_": estimator,
            "query_strategy_": strategy,
            "_n_learnt": state["n_labeled_"],
            "_from_scratch": False,
        }

    def _begin(self, state, seen):
        """Commit the state of a first training; `seen` has the columns of its rows."""
        for name in ("_cold_seed", *COLUMN_ATTRIBUTES):
            vars(self).pop(name, None)
        state |= {name: vars(seen)[name] for name in COLUMN_ATTRIBUTES if name in vars(seen)}
        self._commit(state)

    def _commit(self, state):
        vars(self).update(state)
        if hasattr(self.estimator_, "classes_"):
            self.classes_ = self.estimator_.classes_
        else:
            vars(self).pop("classes_", None)

    # ------------------------------------------------------------------ the estimator's methods

    @available_if(held_has("predict"))
    def predict(self, X, **params):
        """Predict with the fitted estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        **params : dict
            Passed to the estimator's `predict`.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The predictions.
        """
        return self._delegate("predict", X, **params)

    @available_if(held_has("score"))
    def score(self, X, y, **params):
        """Score the fitted estimator on the rows that have a label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels; rows with a missing label are left out.

        **params : dict
            `sample_weight`, or what metadata routing passes to the estimator's `score`; per-row
            values are cut to the labelled rows.

        Returns
        -------
        score : float
            What the estimator's own `score` is: accuracy or :math:`R^2`, as a rule.
        """
        check_is_fitted(self)
        _raise_for_params(params, self, "score", allow=["sample_weight"])
        X = validate_rows(self, X, reset=False)
        if y is not None:
            y = as_target(y)
            check_same_length(X, y)
            labeled = is_labeled(y)
            if not labeled.any():
                raise ValueError("score needs at least one labelled row: every y is NaN or None.")
            params = take_params(params, labeled)
            X = X if labeled.all() else take_rows(X, labeled)
            y = labeled_target(y, labeled)
        if _routing_enabled():
            params = process_routing(self, "score", **params)["estimator"]["score"]
        else:
            params = score_arguments(self.estimator_, params)
        return self.estimator_.score(X, y, **params)

    def get_metadata_routing(self):
        """Say where `fit`, `teach` and `score` send their extra arguments.

        Returns
        -------
        routing : MetadataRouter
            `fit` (which `teach` follows) and `score` of the estimator.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        mapping.add(caller="score", callee="score")
        return MetadataRouter(owner=type(self).__name__).add(
            estimator=self.estimator, method_mapping=mapping
        )

    def __sklearn_tags__(self):
        return inherit_tags(super().__sklearn_tags__(), self.estimator)


def _task(estimator):
    return get_tags(estimator).estimator_type


# What reading rows of the wrong kind raises; not what the machine or a user does.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)


def _if_set(**options):
    """Leave out options that are off: a user's own strategy need not know them."""
    return {name: value for name, value in options.items() if value}
