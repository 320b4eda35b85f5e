"""Staged: one strategy after the other, by the number of labels."""

from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags

from skal.strategies._base import QueryStrategy, bind
from skal.utils._random import child_seed, set_random_states
from skal.utils._tables import n_rows
from skal.utils._tags import QueryStrategyTags


class Staged(QueryStrategy):
    """Query by one strategy up to a number of labels, and by another from there on.

    What saves labels changes as they come: typical rows first, then those that the model is unsure
    of. ``Staged([(0, TypiClust(space="inputs")), (5 * n_classes, MarginSampling())])`` is the
    rule known as TCM.

    Parameters
    ----------
    stages : list of (int, QueryStrategy)
        From how many labelled rows on each strategy is asked; numbers that rise, from 0. Parameters
        of the k-th strategy are reached as ``stage{k}__parameter``, from ``stage0`` on.

    estimator : estimator or None, default=None
        What strategies read whose own `estimator` is None. None means the estimator of the learner
        this is plugged into.

    device : str or None, default=None
        Not used itself; strategies have their own.

    random_state : int, RandomState or None, default=None
        Seeds the strategies.

    Attributes
    ----------
    strategy_ : QueryStrategy
        The fitted strategy of the present stage.

    estimator_ : estimator or None
        The fitted estimator that is read. None before any label is known.

    n_features_in_ : int
        Number of columns seen in `fit`. Defined for rows that have columns.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    Raises
    ------
    ValueError
        If the numbers do not rise from 0.

    See Also
    --------
    TypiClust : A first stage.
    MarginSampling : A second one.

    Notes
    -----
    It has no state of its own: the stage follows from the number of labelled rows. Before any label
    is known, the first stage is asked, if it can answer then. `transform` and the scores are those
    of the present stage.

    References
    ----------
    D. Doucet and others (2024). Bridging diversity and uncertainty in active learning with
    self-supervised pre-training. arXiv:2403.03728 (TCM).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal import ActiveLearner
    >>> from skal.strategies import MarginSampling, Staged, TypiClust
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = Staged([(0, TypiClust(space="inputs")), (20, MarginSampling())])
    >>> learner = ActiveLearner(LogisticRegression(max_iter=500), strategy, random_state=0)
    >>> learner.fit(X[::10], y[::10]).query(X, n_instances=5).shape
    (5,)
    """

    _parameter_constraints = {**QueryStrategy._parameter_constraints, "stages": [list, tuple]}
    _query_tags = QueryStrategyTags()  # those of the stages: see __sklearn_tags__

    def __init__(self, stages=(), *, estimator=None, device=None, random_state=None):
        super().__init__(estimator, device=device, random_state=random_state)
        self.stages = stages

    # ------------------------------------------------------------------ nested parameters

    def _named_stages(self):
        stages = self.stages if isinstance(self.stages, (list, tuple)) else ()
        pairs = [stage for stage in stages if isinstance(stage, tuple) and len(stage) == 2]
        return {f"stage{k}": strategy for k, (_, strategy) in enumerate(pairs)}

    def get_params(self, deep=True):
        """Get the parameters, and those of the strategies as ``stage{k}__parameter``.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the strategies and their parameters.

        Returns
        -------
        params : dict
            Parameters by name.
        """
        params = super().get_params(deep=deep)
        for name, strategy in self._named_stages().items() if deep else ():
            params[name] = strategy
            params |= {f"{name}__{key}": value for key, value in strategy.get_params().items()}
        return params

    def set_params(self, **params):
        """Set parameters, those of the strategies as ``stage{k}__parameter``.

        Parameters
        ----------
        **params : dict
            Parameters by name.

        Returns
        -------
        self : Staged
            This object.
        """
        if "stages" in params:
            self.stages = params.pop("stages")
        named = self._named_stages()
        replaced = {name: params.pop(name) for name in named if name in params}
        if replaced:
            strategies = (named | replaced).values()
            self.stages = [(n, new) for (n, _), new in zip(self.stages, strategies, strict=True)]
        super().set_params(**params)
        return self

    # ------------------------------------------------------------------ the present stage

    def _stage(self, n_labeled):
        """A seeded copy of the strategy for so many labels."""
        thresholds = [stage[0] for stage in self.stages]
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in thresholds)
        rising = all(a < b for a, b in zip(thresholds, thresholds[1:], strict=False))
        if not (thresholds and whole and rising and thresholds[0] == 0):
            raise ValueError(
                "'stages' of Staged must be pairs (n_labels, strategy) whose numbers are ints that "
                f"rise from 0. Got the numbers {thresholds} instead."
            )
        k = max(k for k, threshold in enumerate(thresholds) if threshold <= n_labeled)
        strategy = clone(self.stages[k][1])
        set_random_states(strategy, child_seed(self._seed, 4))
        return strategy

    def _fit_labeled(self, X, y):
        self.strategy_ = self._stage(n_rows(X))
        if self.estimator_ is not None:
            bind(self.strategy_, FrozenEstimator(self.estimator_))
        self.strategy_.fit(X, y)

    def fit_pool(self, X_pool, estimator=None):
        """Bind the first stage before any label is known, for one query over a pool.

        Parameters
        ----------
        X_pool : array-like of shape (n_pool, n_features)
            The pool.

        estimator : estimator or None, default=None
            The unfitted estimator that will learn.

        Returns
        -------
        self : Staged
            Ready for `query`.
        """
        super().fit_pool(X_pool, estimator)
        self.strategy_ = self._stage(0).fit_pool(X_pool, estimator)
        return self

    def _represent(self, X):
        return self.strategy_._represent(X)

    def _choose(self, X, n_instances, seed, return_scores):
        return self.strategy_._choose(X, n_instances, seed, return_scores)

    def prepare_estimator(self, estimator):
        """Add what any of the strategies must have recorded while the estimator trains.

        Parameters
        ----------
        estimator : estimator
            Unfitted, and the learner's own.

        Returns
        -------
        estimator : estimator
            What to train.
        """
        for _, strategy in self.stages:
            estimator = strategy.prepare_estimator(estimator)
        return estimator

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        own = tags.query_strategy_tags
        inner = [get_tags(strategy).query_strategy_tags for _, strategy in self.stages]
        if inner:
            own.needs = tuple(dict.fromkeys(need for stage in inner for need in stage.needs))
            own.tasks = tuple(t for t in own.tasks if all(t in stage.tasks for stage in inner))
            own.requires_fitted_estimator = inner[0].requires_fitted_estimator
            own.conditioned_on_labeled = any(stage.conditioned_on_labeled for stage in inner)
            own.deterministic = all(stage.deterministic for stage in inner)
        return tags
