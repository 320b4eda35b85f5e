"""An active learner that spends a labelling budget in `fit`, for searches over strategies."""

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.metrics import check_scoring
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skal.model_selection._simulation import (
    check_budget,
    check_learner,
    check_params,
    labeled_part,
    seeded_learner,
    simulate,
    with_row_access,
)
from skal.model_selection._stopping import check_stopping, until_stopped
from skal.oracles import check_oracle
from skal.utils._compat import Interval, _fit_context, _raise_for_params, _routing_enabled
from skal.utils._delegation import DelegatingMixin, held_has
from skal.utils._random import draw_seed
from skal.utils._tables import n_rows
from skal.utils._tags import inherit_tags
from skal.utils.validation import check_same_length, is_labeled, validate_rows


class BudgetedActiveLearner(DelegatingMixin, MetaEstimatorMixin, BaseEstimator):
    """A simulated annotation campaign as one estimator.

    `fit` hides the labels, shows the learner a random sample of them and sells it the others batch
    by batch, until the budget is spent; `predict` is the last model's. A query strategy only shows
    its worth over a whole budget: inside ``GridSearchCV``, this makes its hyper-parameters (and the
    network's) searchable, as ``learner__query_strategy__...`` and ``learner__estimator__...``.

    Parameters
    ----------
    learner : ActiveLearner
        The learner. It is cloned, never changed.

    n_initial : int, default=10
        Number of rows labelled before the first query, drawn at random. For a classifier one
        random row of each class comes first (of the most frequent classes, where there are more
        classes than rows to draw).

    n_instances : int, default=1
        Number of rows per query. The last batch is cut so that the budget is met exactly.

    budget : int, default=100
        Total number of labels, the initial ones included. Where `fit` gets fewer labelled rows
        than that (or than `n_initial`), all of them are labelled, and `termination_condition_`
        says so.

    oracle : oracle or None, default=None
        Who answers a query, such as :class:`~skal.oracles.NoisyOracle`; see :mod:`skal.oracles`.
        None is the true label. The initial sample has its true labels, and scores are taken on true
        labels, always. A row that the oracle refuses costs nothing; another is asked about.

    stopping : stopping criterion or None, default=None
        Ends `fit` when it says so, see :mod:`skal.stopping`. It is cloned. There are no audit rows
        in simulations.

    random_state : int, RandomState or None, default=None
        Seeds the initial sample and, mixed with the learner's own `random_state`, training and
        queries.

    Attributes
    ----------
    learner_ : ActiveLearner
        The learner after the last round.

    estimators_ : list of estimators, of length n_rounds + 1
        The learner's fitted estimator after the initial sample and after each query. They hold no
        rows, only what the estimators keep themselves.

    queried_indices_ : list of ndarray of dtype int64, of length n_rounds + 1
        Positions in the X of `fit`: the initial sample, then each batch in order of choice.

    n_labels_ : ndarray of shape (n_rounds + 1,), dtype int64
        Number of labels each of `estimators_` was trained on.

    termination_condition_ : {"budget_spent", "pool_exhausted", "stopped"}
        "pool_exhausted" where there were fewer labelled rows than the budget could buy, "stopped"
        where `stopping` said so before.

    classes_ : ndarray of shape (n_classes,)
        The classes, where the learner has them.

    n_features_in_ : int
        Number of columns seen in `fit`. Defined for rows that have columns.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    skal.metrics.make_budget_scorer : Lets a search look at the whole curve, not the end alone.
    compare_strategies : Paired comparison of strategies, with standard errors.

    Notes
    -----
    A search hides the labels of its training folds only; its scores come from held-out rows.
    `y` may be partly labelled: rows without a label are never queried, except with an oracle that
    does not get its answers from `y` (:class:`~skal.oracles.CallableOracle`).

    Cost: ``1 + ceil((budget - n_initial) / n_instances)`` trainings.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skal import ActiveLearner
    >>> from skal.model_selection import BudgetedActiveLearner
    >>> from skal.strategies import MarginSampling, RandomSampling
    >>> X, y = load_iris(return_X_y=True)
    >>> learner = ActiveLearner(LogisticRegression(max_iter=500))
    >>> model = BudgetedActiveLearner(learner, n_instances=8, budget=30, random_state=0)
    >>> model.fit(X, y).n_labels_
    array([10, 18, 26, 30])
    >>> search = GridSearchCV(
    ...     model, {"learner__query_strategy": [RandomSampling(), MarginSampling()]}, cv=2
    ... )
    >>> search.fit(X, y).best_estimator_.termination_condition_
    'budget_spent'
    """

    _given, _fitted = "learner", "learner_"
    _parameter_constraints: dict = {
        # check_learner and check_oracle say more than a constraint could.
        "learner": "no_validation",
        "n_initial": [Interval(Integral, 1, None, closed="left")],
        "n_instances": [Interval(Integral, 1, None, closed="left")],
        "budget": [Interval(Integral, 1, None, closed="left")],
        "oracle": "no_validation",
        "stopping": "no_validation",
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        learner,
        *,
        n_initial=10,
        n_instances=1,
        budget=100,
        oracle=None,
        stopping=None,
        random_state=None,
    ):
        self.learner = learner
        self.n_initial = n_initial
        self.n_instances = n_instances
        self.budget = budget
        self.oracle = oracle
        self.stopping = stopping
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, **fit_params):
        """Hide `y`, and let the learner spend the budget on it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows: any container the learner takes.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels. Rows with a missing label (NaN, None) are never queried.

        **fit_params : dict
            `sample_weight` for all rows, or what metadata routing passes to the learner's `fit`;
            per-row values are cut to the rows that are labelled.

        Returns
        -------
        self : BudgetedActiveLearner
            The fitted estimator.

        Raises
        ------
        TypeError
            If `learner` is not an active learner.
        ValueError
            If `budget` is less than `n_initial`, or no row has a label.
        """
        _raise_for_params(fit_params, self, "fit", allow=["sample_weight"])
        check_learner(self.learner, type(self).__name__)
        check_oracle(self.oracle, type(self).__name__)
        check_stopping(self.stopping, type(self).__name__)
        check_budget(self.n_initial, self.budget, type(self).__name__)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        X, y = with_row_access(X, y)
        X = validate_rows(self, X, reset=True)
        check_same_length(X, y)
        if not is_labeled(y).any():
            raise ValueError("y has no labelled row. Give at least one row a label before fit.")

        if _routing_enabled():
            fit_params = process_routing(self, "fit", **fit_params)["learner"]["fit"]
        fit_params = check_params(dict(fit_params), n_rows(y), type(self).__name__)
        seed = draw_seed(self.random_state)
        learner = seeded_learner(self.learner, seed)
        rounds, estimators = [], []
        steps = simulate(
            learner,
            X,
            y,
            n_initial=self.n_initial,
            n_instances=self.n_instances,
            budget=self.budget,
            seed=seed,
            oracle=self.oracle,
            params=fit_params,
        )
        if self.stopping is not None:
            stopping = clone(self.stopping)
            steps = until_stopped(steps, stopping, learner, X)
        for done in steps:
            rounds.append(done)
            estimators.append(learner.estimator_)

        self.learner_ = learner
        self.estimators_ = estimators
        self.queried_indices_ = [done.queried for done in rounds]
        self.n_labels_ = np.array([done.n_labels for done in rounds], dtype=np.int64)
        if self.n_labels_[-1] >= self.budget:
            self.termination_condition_ = "budget_spent"
        elif self.n_labels_[-1] < is_labeled(y).sum() and self.stopping is not None:
            self.termination_condition_ = "stopped"
        else:
            self.termination_condition_ = "pool_exhausted"
        return self

    @property
    def classes_(self):
        """The classes, where the learner has them."""
        return self.learner_.classes_

    # ------------------------------------------------------------------ round by round

    @available_if(held_has("predict"))
    def staged_predict(self, X):
        """Predict with the model of each round, the initial one first.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Yields
        ------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The predictions after `n_labels_[round]` labels.
        """
        check_is_fitted(self)
        X = validate_rows(self, X, reset=False)
        for estimator in self.estimators_:
            yield estimator.predict(X)

    @available_if(held_has("score"))
    def staged_score(self, X, y, *, scoring=None):
        """Score the model of each round, the initial one first.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels; rows with a missing label are left out.

        scoring : str, callable or None, default=None
            Name of a score or a scorer; None is the estimator's own ``score``.

        Yields
        ------
        score : float
            The score after `n_labels_[round]` labels.
        """
        check_is_fitted(self)
        X = validate_rows(self, X, reset=False)
        check_same_length(X, y)
        X, y = labeled_part(X, y)
        for estimator in self.estimators_:
            yield float(check_scoring(estimator, scoring=scoring)(estimator, X, y))

    # ------------------------------------------------------------------ the last learner's methods

    @available_if(held_has("predict"))
    def predict(self, X):
        """Predict with the learner after the last round.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The predictions.
        """
        return self._delegate("predict", X)

    @available_if(held_has("score"))
    def score(self, X, y, **params):
        """Score the learner after the last round on the rows that have a label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels; rows with a missing label are left out.

        **params : dict
            `sample_weight`, or what metadata routing passes to the learner's `score`.

        Returns
        -------
        score : float
            What the estimator's own `score` is: accuracy or :math:`R^2`, as a rule.
        """
        _raise_for_params(params, self, "score", allow=["sample_weight"])
        if _routing_enabled():
            params = process_routing(self, "score", **params)["learner"]["score"]
        return self._delegate("score", X, y, **params)

    def get_metadata_routing(self):
        """Say where `fit` and `score` send their extra arguments.

        Returns
        -------
        routing : MetadataRouter
            `fit` and `score` of the learner.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        mapping.add(caller="score", callee="score")
        return MetadataRouter(owner=type(self).__name__).add(
            learner=self.learner, method_mapping=mapping
        )

    def __sklearn_tags__(self):
        tags = inherit_tags(super().__sklearn_tags__(), self.learner)
        # It learns from a part of the labels it is given.
        if tags.classifier_tags is not None:
            tags.classifier_tags.poor_score = True
        if tags.regressor_tags is not None:
            tags.regressor_tags.poor_score = True
        return tags
