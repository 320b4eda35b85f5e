"""Query strategies side by side: same splits, same first labels, same network initialisation."""

from collections import Counter
from functools import partial

import numpy as np
from sklearn.base import clone

from skal.metrics import (
    area_under_budget_curve,
    holm_correction,
    labels_saved,
    labels_to_reach,
    paired_test,
    ratio_to_baseline,
)
from skal.metrics._paired import (
    ENOUGH_RUNS,
    check_confidence,
    half_width,
    standard_error,
)
from skal.model_selection._checkpoint import (
    Checkpoint,
    StrategyRuns,
    comparison_settings,
    describe,
)
from skal.model_selection._runs import (
    check_arguments,
    delayed_cell,
    make_runs,
    make_scorer_of,
    run_parallel,
)
from skal.model_selection._simulation import check_params
from skal.model_selection._stopping import check_stopping
from skal.oracles import check_oracle
from skal.utils._random import draw_seed
from skal.utils._results import curves_of, find_strategy, score_column
from skal.utils._tables import n_rows


def compare_strategies(
    learner,
    strategies,
    X,
    y,
    *,
    n_initial=10,
    n_instances=1,
    budget=100,
    n_repeats=None,
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
    checkpoint=None,
    stopping=None,
    params=None,
):
    """Run query strategies on the same data, paired repeat by repeat.

    In one repeat every strategy gets the same split, the same initial labels and the same seed of
    the learner, hence the same network initialisation and the same model in round 0: what differs
    afterwards is the work of the strategy.

    Parameters
    ----------
    learner : ActiveLearner
        The learner; each strategy takes the place of its `query_strategy` in turn. It is cloned,
        never changed.

    strategies : dict of str to QueryStrategy, or list of QueryStrategy
        The strategies, by the name they have in the result. Those of a list are named by their
        class (``CoreSet-1``, ``CoreSet-2`` where one comes twice). "auto" in place of a strategy is
        what :func:`skal.recommend` says at each query.

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

    n_repeats : int or None, default=None
        Without `cv`, the number of random splits; None is 5. With `cv`, how often its splits are
        gone through, each time with new initial labels and seeds; None is 1.

    groups : array-like of shape (n_samples,), default=None
        Groups for `cv`: rows of one group are held out together.

    cv : int, cross-validation generator, iterable or None, default=None
        How rows are held out, as everywhere in scikit-learn; an int k is (stratified) k-fold. None
        is random splits with a quarter of the rows held out, drawn from `random_state`, stratified
        for a classifier whose `y` is fully labelled.

    scoring : str, callable, list, tuple, set, dict or None, default=None
        What is measured, as in :func:`sklearn.model_selection.cross_validate`. None is the
        learner's own ``score``.

    n_jobs : int or None, default=None
        Number of cells (one strategy in one repeat) run at once through joblib. Wrap the call in
        ``joblib.parallel_config("dask")`` or another backend to use a cluster. It does not change
        the results, as long as workers are processes (nets seed torch's one global generator).

    random_state : int, RandomState or None, default=None
        Seeds splits, initial samples, training and queries.

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
        labels, always. All strategies of a repeat get the same answer about a row.
        A row that the oracle refuses costs nothing; another is asked about.

    progress_bar : bool, default=False
        Whether to show a bar that counts finished cells.

    error_score : "raise" or float, default="raise"
        What happens when a cell fails: "raise" an error, or warn and put this value into its
        remaining rounds.

    checkpoint : path-like or None, default=None
        A folder that keeps each finished run in a file of its own, from the moment it is finished.
        The same call goes on from the runs there are, after an interrupt, a failure or a kill; it
        may have other strategies and more repeats (random splits), and only does what is not there.
        With ``random_state=None`` it goes on with the seed of the first call. Runs of another
        comparison (data, learner, budget, splits, ...) are refused. One process at a time.

    stopping : stopping criterion or None, default=None
        Ends a run when it says so, see :mod:`skal.stopping`; a clone of it for each run. Its curve
        goes on to the budget with the scores of the last model, flagged in the column `stopped`.
        There are no audit rows in simulations.

    params : dict or None, default=None
        Arguments of the learner's `fit`, such as ``{"sample_weight": weights}``: per-row values for
        all rows, cut along with them. Scores are taken without.

    Returns
    -------
    results : pandas.DataFrame
        One row per strategy, repeat and round, with the columns

        - `strategy`: its name;
        - `repeat`: number of the repeat, from 0; rows with equal `repeat` are paired;
        - `split`: number of the split in `cv`, from 0;
        - `round`: number of queries so far, 0 being the initial sample;
        - `n_labels`: number of labels so far;
        - one column per score: `score` where `scoring` is None or a callable, otherwise its name
          or key;
        - `fit_time`: seconds the training took;
        - `query_time`: seconds the query took that chose the rows of this round (0 in round 0);
        - `queried`: int64 array of the positions in `X` labelled in this round, in order of
          choice (with ``return_queried=True``);
        - `stopped`: whether the run had ended before, so that the scores are those of its last
          model (with `stopping`).

    Raises
    ------
    TypeError
        If `learner` is not an active learner, or a strategy cannot be queried.
    ValueError
        If `budget` is more than the labelled training rows of a split, or less than `n_initial`;
        if `strategies` is empty; if `checkpoint` holds something else.
    RuntimeError
        If a cell fails: names the strategy, the repeat and the number of labels. If a worker
        process is killed: names the runs that were not finished.
    KeyboardInterrupt
        If it is interrupted before a run is finished.

    Warns
    -----
    UserWarning
        If it is interrupted later: the result then holds the runs that are finished.

    See Also
    --------
    summarize_comparison : The result as a table with standard errors and paired tests.
    skal.inspection.LearningCurveDisplay : The result as a figure.
    active_learning_curve : One learner.

    Notes
    -----
    Cost: ``1 + ceil((budget - n_initial) / n_instances)`` trainings per strategy and repeat.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal import ActiveLearner
    >>> from skal.model_selection import compare_strategies
    >>> from skal.strategies import MarginSampling, RandomSampling
    >>> X, y = load_iris(return_X_y=True)
    >>> results = compare_strategies(
    ...     ActiveLearner(LogisticRegression(max_iter=500)),
    ...     {"random": RandomSampling(), "margin": MarginSampling()},
    ...     X, y, n_instances=5, budget=20, n_repeats=2, random_state=0,
    ... )
    >>> results.groupby("strategy", sort=False).size().to_dict()
    {'random': 6, 'margin': 6}
    """
    X, y = check_arguments(
        "compare_strategies",
        learner,
        X,
        y,
        n_initial=n_initial,
        n_instances=n_instances,
        budget=budget,
        n_repeats=n_repeats,
        n_jobs=n_jobs,
        random_state=random_state,
        stratify_initial=stratify_initial,
        return_queried=return_queried,
        progress_bar=progress_bar,
        error_score=error_score,
    )
    strategies = _check_strategies(strategies)
    check_oracle(oracle, "compare_strategies")
    check_stopping(stopping, "compare_strategies")
    scores = make_scorer_of(learner, scoring)
    plan = {
        "n_initial": n_initial,
        "n_instances": n_instances,
        "budget": budget,
        "stratify": stratify_initial,
        "oracle": oracle,
        "params": check_params(params, n_rows(y), "compare_strategies"),
        "stopping": stopping,
    }
    if checkpoint is None:
        store, root = None, draw_seed(random_state)
    else:
        store = Checkpoint(checkpoint)
        root = store.open(comparison_settings(learner, X, y, scores, plan), random_state)
    runs = make_runs(
        learner, X, y, cv=cv, n_repeats=n_repeats, groups=groups, budget=budget, root=root
    )
    described = [StrategyRuns(name, describe("strategy", s)) for name, s in strategies.items()]
    places = [(run, strategy) for run in runs for strategy in described]
    cells = [
        delayed_cell(
            clone(learner).set_params(query_strategy=strategies[name]),
            X,
            y,
            run,
            scores,
            {"strategy": name, "repeat": run.repeat, "split": run.split},
            error_score=error_score,
            return_queried=return_queried,
            plan=plan,
            where=f"strategy {name!r}, repeat {run.repeat}",
            store=None if store is None else partial(store.save, run, StrategyRuns(name, settings)),
        )
        for run, (name, settings) in places
    ]
    results = run_parallel(
        cells,
        n_jobs=n_jobs,
        progress_bar=progress_bar,
        finished=dict if store is None else partial(store.load_all, places, return_queried),
        kept="" if store is None else store.remark,
    )
    order = {name: place for place, name in enumerate(strategies)}
    return results.sort_values("strategy", key=lambda s: s.map(order), kind="stable").reset_index(
        drop=True
    )


def _check_strategies(strategies):
    """Return the strategies as a dict by name."""
    if hasattr(strategies, "query") or not isinstance(strategies, (dict, list, tuple)):
        raise TypeError(
            "strategies must be a dict of names to strategies, or a list of strategies. "
            f"Got {strategies!r} instead."
        )
    if len(strategies) == 0:
        raise ValueError("strategies must hold at least one strategy. Got none instead.")
    if not isinstance(strategies, dict):
        names = [s if isinstance(s, str) else type(s).__name__ for s in strategies]
        times, seen = Counter(names), Counter()
        named = {}
        for name, strategy in zip(names, strategies, strict=True):
            seen[name] += 1
            named[f"{name}-{seen[name]}" if times[name] > 1 else name] = strategy
        strategies = named
    for name, strategy in strategies.items():
        if isinstance(strategy, str) and strategy == "auto":
            continue
        if isinstance(strategy, type) or not all(hasattr(strategy, m) for m in ("fit", "query")):
            raise TypeError(
                f"strategies[{name!r}] must be an instance of a query strategy, with 'fit' and "
                f"'query', or 'auto'. Got {strategy!r} instead. For example: RandomSampling()."
            )
    return {str(name): strategy for name, strategy in strategies.items()}


def summarize_comparison(
    results,
    *,
    score=None,
    baseline="random",
    greater_is_better=True,
    rule="trapezoid",
    confidence=0.95,
):
    """Condense a comparison into one line per strategy.

    Parameters
    ----------
    results : pandas.DataFrame
        What :func:`compare_strategies` returned.

    score : str or None, default=None
        The column to summarise. None is the only score there is.

    baseline : str, default="random"
        The strategy the others are compared with: its name, or the beginning of its name in any
        case ("random" finds "RandomSampling").

    greater_is_better : bool, default=True
        False where the score is a loss. scikit-learn's ``neg_...`` scores are not: True.

    rule : {"trapezoid", "mean"}, default="trapezoid"
        How a curve is averaged, see :func:`skal.metrics.area_under_budget_curve`.

    confidence : float, default=0.95
        Level of all intervals, between 0 and 1.

    Returns
    -------
    summary : pandas.DataFrame
        One row per strategy, in the order of `results`, indexed by name, with the columns

        - `n_repeats`: number of repeats;
        - `area`, `area_se`: mean area under the budget curve over the repeats, in the unit of the
          score, and its standard error;
        - `ratio`, `ratio_se`, `ratio_low`, `ratio_high`: mean over the repeats of the area's
          ratio to the baseline's, above 1 being better, its standard error and its confidence
          interval (Student's t); NaN where areas are not all of one sign, so that a ratio means
          nothing;
        - `difference`, `difference_low`, `difference_high`: mean paired difference of areas to the
          baseline, above 0 being better, in the unit of the score, and its confidence interval;
        - `z`: that difference over its standard error, the statistic of Student's t with
          ``n_repeats - 1`` degrees of freedom (see :func:`skal.metrics.paired_z`);
        - `pvalue`, `pvalue_holm`: its two-sided p-value, and the same after Holm's correction for
          the number of strategies;
        - `labels_to_baseline`: number of labels at which the mean curve, joined by straight
          lines, reaches the final score of the baseline's mean curve; ``inf`` if it never does;
        - `labels_saved`, `labels_saved_low`, `labels_saved_high`: the share of the budget that is
          not needed for that, and its confidence interval, see :func:`skal.metrics.labels_saved`;
        - `too_few_repeats`: True under 5 repeats, which tell apart only what differs hugely.

        Standard errors, intervals and tests are NaN for a single repeat, and everything is NaN
        for a strategy that failed in a repeat (``error_score=np.nan``).

    Raises
    ------
    ValueError
        If `results` lacks columns, the score or the baseline is not in it, strategies have
        different repeats or budgets, or `confidence` is not between 0 and 1.

    See Also
    --------
    skal.metrics.ratio_to_baseline : The ratio.
    skal.metrics.paired_test : The test.
    skal.metrics.critical_difference : Strategies over many data sets.

    Notes
    -----
    Standard errors treat repeats as independent; random splits of one data set overlap, which
    makes them somewhat too small for claims about other data.

    Examples
    --------
    >>> import pandas as pd
    >>> from skal.model_selection import summarize_comparison
    >>> results = pd.DataFrame({
    ...     "strategy": ["random"] * 4 + ["margin"] * 4,
    ...     "repeat": [0, 0, 1, 1] * 2,
    ...     "n_labels": [10, 20] * 4,
    ...     "accuracy": [0.5, 0.75, 0.5, 0.75, 0.5, 1.0, 0.75, 1.0],
    ... })
    >>> summary = summarize_comparison(results)
    >>> summary["area"].to_dict()
    {'random': 0.625, 'margin': 0.8125}
    >>> summary["labels_to_baseline"].round(1).to_dict()
    {'random': 20.0, 'margin': 13.3}
    """
    import pandas as pd

    check_confidence(confidence)
    score = score_column(results, score)
    n_labels, curves = curves_of(results, score)
    baseline = find_strategy(curves, baseline)
    areas = {name: area_under_budget_curve(n_labels, c, rule=rule) for name, c in curves.items()}
    reference, how = areas[baseline], {"greater_is_better": greater_is_better}
    lines = {
        name: {
            "n_repeats": len(area),
            "area": area.mean(),
            "area_se": standard_error(area),
            **_ratio(area, reference, confidence, **how),
            **_test(area, reference, confidence, **how),
            **_labels(n_labels, curves[name], curves[baseline], confidence, **how),
            "too_few_repeats": len(area) < ENOUGH_RUNS,
        }
        for name, area in areas.items()
    }
    summary = pd.DataFrame.from_dict(lines, orient="index").rename_axis("strategy")
    # Of the tests there are: the baseline is not compared with itself.
    adjusted = holm_correction(summary["pvalue"].where(summary.index != baseline))
    adjusted = np.where(summary.index == baseline, summary["pvalue"], adjusted)
    summary.insert(summary.columns.get_loc("pvalue") + 1, "pvalue_holm", adjusted)
    return summary


def _ratio(area, reference, confidence, **how):
    try:
        ratio, error = ratio_to_baseline(area, reference, **how)
    except ValueError:
        # Areas on both sides of zero (R2): the documented answer is "no ratio".
        ratio, error = np.nan, np.nan
    half = half_width(error, len(area), confidence)
    return {
        "ratio": ratio,
        "ratio_se": error,
        "ratio_low": ratio - half,
        "ratio_high": ratio + half,
    }


def _test(area, reference, confidence, **how):
    """Difference to the baseline's areas by Student's t; NaN for a single repeat."""
    columns = ("difference", "difference_low", "difference_high", "z", "pvalue")
    if len(area) < 2:
        return dict.fromkeys(columns, np.nan)
    return dict(
        zip(columns, paired_test(area, reference, confidence=confidence, **how), strict=False)
    )


def _labels(n_labels, curves, reference, confidence, **how):
    final, needed = reference.mean(axis=0)[-1], np.nan
    if np.isfinite(final) and np.isfinite(curves).all():
        needed = labels_to_reach(n_labels, curves.mean(axis=0), final, interpolate=True, **how)
    saved = labels_saved(n_labels, curves, reference, confidence=confidence, **how)
    return {
        "labels_to_baseline": needed,
        "labels_saved": saved.share,
        "labels_saved_low": saved.low,
        "labels_saved_high": saved.high,
    }
