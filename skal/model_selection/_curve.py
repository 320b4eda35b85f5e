"""The learning curve of an active learner, cross-validated."""

from skal.model_selection._runs import (
    check_arguments,
    delayed_cell,
    make_runs,
    make_scorer_of,
    run_parallel,
)
from skal.model_selection._simulation import check_params
from skal.oracles import check_oracle
from skal.utils._random import draw_seed
from skal.utils._tables import n_rows


def active_learning_curve(
    learner,
    X,
    y,
    *,
    n_initial=10,
    n_instances=1,
    budget=100,
    groups=None,
    cv=None,
    scoring=None,
    n_jobs=None,
    random_state=None,
    stratify_initial=True,
    return_queried=False,
    oracle=None,
    progress_bar=False,
    error_score="raise",
    params=None,
):
    """Score an active learner on held-out rows after every round of a labelling budget.

    For each split, the labels of the training part are hidden. The learner is fitted on a random
    sample of it, then queries and is taught, batch after batch, until the budget is spent.

    Parameters
    ----------
    learner : ActiveLearner
        The learner. It is cloned, never changed.

    X : array-like of shape (n_samples, n_features)
        All rows: any container the learner takes.

    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their labels. Rows with a missing label (NaN, None) are never queried or scored.

    n_initial : int, default=10
        Number of rows labelled before the first query.

    n_instances : int, default=1
        Number of rows per query. The last batch is cut so that the budget is met exactly.

    budget : int, default=100
        Total number of labels, the initial ones included.

    groups : array-like of shape (n_samples,), default=None
        Groups for `cv`: rows of one group are held out together.

    cv : int, cross-validation generator, iterable or None, default=None
        How rows are held out, as everywhere in scikit-learn; an int k is (stratified) k-fold. None
        is five random splits with a quarter of the rows held out, drawn from `random_state`,
        stratified for a classifier whose `y` is fully labelled.

    scoring : str, callable, list, tuple, set, dict or None, default=None
        What is measured, as in :func:`sklearn.model_selection.cross_validate`. None is the
        learner's own ``score``.

    n_jobs : int or None, default=None
        Number of splits run at once through joblib, whose backend may be changed with
        ``joblib.parallel_config``. It does not change the results.

    random_state : int, RandomState or None, default=None
        Seeds splits, initial samples, training and queries. With an int, the same splits and
        initial samples come in :func:`compare_strategies`.

    stratify_initial : bool, default=True
        For classifiers: whether the initial sample starts with one random row of each class (of
        the most frequent ones, where `n_initial` is less than the number of classes), the rest
        being uniform. False is uniform throughout, and may leave a single class.
        Regressors and several outputs always start from a uniform sample.

    return_queried : bool, default=False
        Whether to add the column `queried`.

    oracle : oracle or None, default=None
        Who answers a query, such as :class:`~skal.oracles.NoisyOracle`; see :mod:`skal.oracles`.
        None is the true label. The initial sample has its true labels, and scores are taken on true
        labels, always. A row that the oracle refuses costs nothing; another is asked about.

    progress_bar : bool, default=False
        Whether to show a bar that counts finished splits.

    error_score : "raise" or float, default="raise"
        What happens when a split fails: "raise" an error, or warn and put this value into its
        remaining rounds.

    params : dict or None, default=None
        Arguments of the learner's `fit`, such as ``{"sample_weight": weights}``: per-row values for
        all rows, cut along with them. Scores are taken without.

    Returns
    -------
    curve : pandas.DataFrame
        One row per split and round, with the columns

        - `split`: number of the split, from 0;
        - `round`: number of queries so far, 0 being the initial sample;
        - `n_labels`: number of labels so far;
        - one column per score: `score` where `scoring` is None or a callable, otherwise its name
          or key;
        - `fit_time`: seconds the training took;
        - `query_time`: seconds the query took that chose the rows of this round (0 in round 0);
        - `queried`: int64 array of the positions in `X` labelled in this round, in order of
          choice (with ``return_queried=True``).

    Raises
    ------
    TypeError
        If `learner` is not an active learner.
    ValueError
        If `budget` is more than the labelled training rows of a split, or less than `n_initial`.
    RuntimeError
        If a split fails: names the split and the number of labels.

    See Also
    --------
    compare_strategies : Several strategies on the same splits and initial samples.
    skal.inspection.LearningCurveDisplay : Draws the result.
    skal.metrics.area_under_budget_curve : A curve in one number.

    Notes
    -----
    Cost: ``1 + ceil((budget - n_initial) / n_instances)`` trainings per split, each on at most
    `budget` rows, and a query over the rest of the training part between two of them.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal import ActiveLearner
    >>> from skal.model_selection import active_learning_curve
    >>> X, y = load_iris(return_X_y=True)
    >>> learner = ActiveLearner(LogisticRegression(max_iter=500))
    >>> curve = active_learning_curve(
    ...     learner, X, y, n_instances=8, budget=30, cv=3, scoring="accuracy", random_state=0
    ... )
    >>> curve[["split", "round", "n_labels"]].head(4).to_numpy().tolist()
    [[0, 0, 10], [0, 1, 18], [0, 2, 26], [0, 3, 30]]
    >>> list(curve.columns)
    ['split', 'round', 'n_labels', 'accuracy', 'fit_time', 'query_time']
    """
    X, y = check_arguments(
        "active_learning_curve",
        learner,
        X,
        y,
        n_initial=n_initial,
        n_instances=n_instances,
        budget=budget,
        n_jobs=n_jobs,
        random_state=random_state,
        stratify_initial=stratify_initial,
        return_queried=return_queried,
        progress_bar=progress_bar,
        error_score=error_score,
    )
    check_oracle(oracle, "active_learning_curve")
    scores = make_scorer_of(learner, scoring)
    runs = make_runs(
        learner,
        X,
        y,
        cv=cv,
        n_repeats=None,
        groups=groups,
        budget=budget,
        root=draw_seed(random_state),
    )
    plan = {
        "n_initial": n_initial,
        "n_instances": n_instances,
        "budget": budget,
        "stratify": stratify_initial,
        "oracle": oracle,
        "params": check_params(params, n_rows(y), "active_learning_curve"),
    }
    cells = [
        delayed_cell(
            learner,
            X,
            y,
            run,
            scores,
            {"split": run.split},
            error_score=error_score,
            return_queried=return_queried,
            plan=plan,
            where=f"split {run.split}",
        )
        for run in runs
    ]
    return run_parallel(cells, n_jobs=n_jobs, progress_bar=progress_bar)
