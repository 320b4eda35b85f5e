"""A whole labelling budget as the objective of a grid search."""

import numpy as np

from skal.metrics._budget import _RULES, area_under_budget_curve


def make_budget_scorer(scoring=None, *, rule="trapezoid"):
    """Make a scorer that averages a score over the labelling budget.

    GridSearchCV over a :class:`~skal.model_selection.BudgetedActiveLearner` looks at the final
    score by default. Use this scorer as its `scoring` where being good early counts too: it
    returns the area under the learning curve on the held-out rows.

    Parameters
    ----------
    scoring : str, callable or None, default=None
        The score of one round: a name or a scorer as scikit-learn's `scoring`; None is the
        estimator's own ``score``. Greater must be better (``"neg_mean_squared_error"``).

    rule : {"trapezoid", "mean"}, default="trapezoid"
        How rounds are averaged, see :func:`area_under_budget_curve`.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y) -> float``; it can be pickled and takes any fitted estimator with
        ``staged_score`` and ``n_labels_``.

    Raises
    ------
    ValueError
        If `rule` or the name in `scoring` is unknown.
    TypeError
        If `scoring` is neither a name, nor a callable, nor None.

    See Also
    --------
    area_under_budget_curve : The average itself.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal import ActiveLearner
    >>> from skal.metrics import make_budget_scorer
    >>> from skal.model_selection import BudgetedActiveLearner
    >>> X, y = load_iris(return_X_y=True)
    >>> learner = ActiveLearner(LogisticRegression(max_iter=500))
    >>> model = BudgetedActiveLearner(learner, n_instances=5, budget=20, random_state=0).fit(X, y)
    >>> scorer = make_budget_scorer("balanced_accuracy")
    >>> 0.3 < scorer(model, X, y) < 1
    True
    """
    if rule not in _RULES:
        raise ValueError(f"rule must be one of {_RULES}. Got {rule!r} instead.")
    if isinstance(scoring, str):
        from sklearn.metrics import get_scorer

        get_scorer(scoring)
    elif scoring is not None and not callable(scoring):
        raise TypeError(
            "scoring must be the name of a score, a callable scorer(estimator, X, y) or None. "
            f"Got {scoring!r} instead."
        )
    return _BudgetScorer(scoring, rule)


class _BudgetScorer:
    """Average of ``staged_score`` over the budget."""

    def __init__(self, scoring, rule):
        self.scoring = scoring
        self.rule = rule

    def __call__(self, estimator, X, y):
        if not hasattr(estimator, "staged_score"):
            raise TypeError(
                "A budget scorer needs an estimator with 'staged_score'. "
                f"Got {type(estimator).__name__} instead. Wrap the learner in a "
                "BudgetedActiveLearner, and search over that."
            )
        scores = np.fromiter(estimator.staged_score(X, y, scoring=self.scoring), dtype=float)
        return area_under_budget_curve(estimator.n_labels_, scores, rule=self.rule)

    def __repr__(self):
        arguments = "" if self.scoring is None else f"{self.scoring!r}, "
        return f"make_budget_scorer({arguments}rule={self.rule!r})"
