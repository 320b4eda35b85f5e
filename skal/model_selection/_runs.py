"""Runs of simulations: who is held out, what is scored, and how a failure is reported."""

import warnings
from concurrent.futures.process import BrokenProcessPool
from numbers import Integral, Real
from typing import NamedTuple

import joblib
import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit, check_cv
from sklearn.utils.parallel import Parallel, delayed

from skal.model_selection._simulation import (
    check_budget,
    check_learner,
    label_schedule,
    labeled_part,
    seeded_learner,
    simulate,
    with_row_access,
)
from skal.model_selection._stopping import padded, until_stopped
from skal.utils._compat import Interval, StrOptions, validate_parameter_constraints
from skal.utils._metadata import params_of_rows
from skal.utils._random import child_seed
from skal.utils._results import RESERVED_COLUMNS
from skal.utils._tables import is_mapping, n_rows, take_rows
from skal.utils.validation import check_same_length, is_labeled, target_values

N_RANDOM_SPLITS, TEST_SIZE = 5, 0.25
_SPLITS, _RUNS = 0, 1

_CONSTRAINTS = {
    "n_initial": [Interval(Integral, 1, None, closed="left")],
    "n_instances": [Interval(Integral, 1, None, closed="left")],
    "budget": [Interval(Integral, 1, None, closed="left")],
    "n_repeats": [Interval(Integral, 1, None, closed="left"), None],
    "stratify_initial": ["boolean"],
    "return_queried": ["boolean"],
    "progress_bar": ["boolean"],
    "n_jobs": [Integral, None],
    "random_state": ["random_state"],
    "error_score": [StrOptions({"raise"}), Real],
}


class Run(NamedTuple):
    """One simulation: a split, an initial sample and a seed, the same for every strategy."""

    repeat: int
    split: int
    train: np.ndarray
    test: np.ndarray
    seed: int


def check_arguments(owner, learner, X, y, **arguments):
    """Check what can be checked before any split is made; return `X` and `y` with row access."""
    check_learner(learner, owner)
    used = {name: _CONSTRAINTS[name] for name in arguments}
    validate_parameter_constraints(used, arguments, caller_name=owner)
    check_budget(arguments["n_initial"], arguments["budget"], owner)
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None.")
    X, y = with_row_access(X, y)
    check_same_length(X, y)
    return X, y


def make_runs(learner, X, y, *, cv, n_repeats, groups, budget, root):
    """Return the list of runs: the splits of `cv`, as often as `n_repeats` says."""
    mask = is_labeled(y)
    target = target_values(y) if mask.all() else None
    if cv is None:
        kind = ShuffleSplit
        if is_classifier(learner) and target is not None and target.ndim == 1:
            kind = StratifiedShuffleSplit
        n_splits = N_RANDOM_SPLITS if n_repeats is None else n_repeats
        cv = kind(n_splits, test_size=TEST_SIZE, random_state=child_seed(root, _SPLITS))
        n_passes = 1
    else:
        cv = check_cv(cv, target, classifier=is_classifier(learner))
        n_passes = n_repeats or 1
    rows = np.arange(n_rows(X)) if is_mapping(X) else X
    target = y if target is None else target
    runs = []
    for _ in range(n_passes):
        for split, (train, test) in enumerate(cv.split(rows, target, groups)):
            _check_train(int(mask[train].sum()), budget, split)
            seed = child_seed(root, _RUNS, len(runs))
            runs.append(Run(len(runs), split, train, test, seed))
    return runs


def _check_train(n_labeled, budget, split):
    if budget > n_labeled:
        raise ValueError(
            f"budget must be at most the number of labelled training rows, {n_labeled} in split "
            f"{split}. Got {budget} instead. Lower the budget, or hold out fewer rows (cv)."
        )


def make_scorer_of(learner, scoring):
    """Return a callable ``(estimator, X, y) -> {column: value}``, and its column names."""
    if isinstance(scoring, (list, tuple, set)):
        # A set has no order of its own; columns need one.
        names = sorted(scoring) if isinstance(scoring, set) else scoring
        scoring = {name: name for name in names}
    scorer = check_scoring(learner, scoring=scoring)
    if isinstance(scoring, dict):
        columns = list(scoring)
    else:
        columns = [scoring if isinstance(scoring, str) else "score"]
    taken = [name for name in columns if name in RESERVED_COLUMNS]
    if taken:
        raise ValueError(
            f"scoring must not use the names of other columns {RESERVED_COLUMNS}. "
            f"Got {taken[0]!r} instead. Choose another key."
        )
    return _Scores(scorer, columns)


class _Scores:
    def __init__(self, scorer, columns):
        self.scorer = scorer
        self.columns = columns

    def __call__(self, estimator, X, y):
        values = self.scorer(estimator, X, y)
        if not isinstance(values, dict):
            values = {self.columns[0]: values}
        return {name: float(values[name]) for name in self.columns}


def run_cell(
    learner, X, y, run, scores, labels, *, error_score, return_queried, plan, where, store=None
):
    """Simulate one run of one learner; return one record (dict) per round.

    `labels` go first into every record; `where` names the cell in errors; `plan` holds
    `n_initial`, `n_instances`, `budget`, `stratify` and the `params` of fit; `store` is called with
    the records of a run that did not fail, in the process that did it.
    """
    records = []
    try:
        learner = seeded_learner(learner, run.seed)
        X_test, y_test = labeled_part(take_rows(X, run.test), take_rows(y, run.test))
        X_train, y_train = take_rows(X, run.train), take_rows(y, run.train)
        params = params_of_rows(plan["params"], run.train, n_rows(y))
        settings = plan | {"params": params}
        stopping = settings.pop("stopping", None)
        rounds = simulate(learner, X_train, y_train, seed=run.seed, **settings)
        if stopping is not None:
            rounds = until_stopped(rounds, clone(stopping), learner, X_train)
        for done in rounds:
            record = {**labels, "round": done.number, "n_labels": done.n_labels}
            record |= scores(learner, X_test, y_test)
            record |= {"fit_time": done.fit_time, "query_time": done.query_time}
            record["queried"] = run.train[done.queried]
            records.append(record)
    except Exception as error:
        # What a learner says of its labels is about a clone that nobody will see again.
        error.__notes__ = []
        budgets = label_schedule(plan["n_initial"], plan["n_instances"], plan["budget"])
        place = f"{where} (at {budgets[min(len(records), len(budgets) - 1)]} labels)"
        cause = f"{type(error).__name__}: {error}"
        if error_score == "raise":
            raise RuntimeError(f"The simulation failed in {place}. {cause}") from error
        warnings.warn(
            f"The simulation failed in {place}; its scores from there on are {error_score}. "
            f"{cause}",
            stacklevel=2,
        )
        records += _failed_records(records, budgets, labels, scores, error_score)
    else:
        if stopping is not None:
            records = padded(records, plan)
        if store is not None:
            store(records)
    return records if return_queried else without_queried(records)


def without_queried(records):
    """Return the records without the rows asked about."""
    return [{k: v for k, v in record.items() if k != "queried"} for record in records]


def _failed_records(records, budgets, labels, scores, error_score):
    """Records of the rounds that a failure kept from happening."""
    failed = {name: float(error_score) for name in scores.columns}
    failed |= {"fit_time": np.nan, "query_time": np.nan}
    failed["queried"] = np.empty(0, dtype=np.int64)
    return [
        {**labels, "round": number, "n_labels": int(budgets[number]), **failed}
        for number in range(len(records), len(budgets))
    ]


def run_parallel(cells, *, n_jobs, progress_bar, finished=dict, kept=""):
    """Run delayed cells and return one frame of all their records, in the order of the cells.

    `finished` returns what is done already, records by place in `cells`; it is asked again after
    an interrupt, which ends in the frame of the runs there are. `kept` says where they are kept.
    """
    done = finished()
    todo = [_numbered(place, *cell) for place, cell in enumerate(cells) if place not in done]
    answers = _as_they_come(todo, n_jobs)
    if progress_bar:
        from tqdm.auto import tqdm

        answers = tqdm(answers, total=len(cells), initial=len(done), unit="run")
    try:
        for place, records in answers:
            done[place] = records
    except KeyboardInterrupt:
        done |= finished()
        if not done:
            raise
        warnings.warn(
            f"Interrupted: the result holds the {len(done)} of {len(cells)} runs that are "
            f"finished. {kept or 'A checkpoint= would keep them for another call to go on from.'}",
            UserWarning,
            stacklevel=3,
        )
    except BrokenProcessPool as error:
        done |= finished()
        raise RuntimeError(_killed(cells, done, kept)) from error
    except RuntimeError as error:
        error.add_note(kept or _NOT_KEPT)
        raise
    return _frame(done[place] for place in sorted(done))


_NOT_KEPT = "Finished runs are not kept: pass checkpoint='a folder' to go on from them next time."


def _frame(parts):
    import pandas as pd

    return pd.DataFrame.from_records([record for records in parts for record in records])


def _killed(cells, done, kept):
    """Say which runs are lost with a worker process that was killed."""
    lost = [cell[2]["where"] for place, cell in enumerate(cells) if place not in done]
    more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
    return (
        "A worker process was killed, perhaps because memory ran out (fewer n_jobs need less). "
        f"{len(done)} of {len(cells)} runs are finished, these are not: {'; '.join(lost[:3])}"
        f"{more}. {kept or _NOT_KEPT}"
    )


@delayed
def _numbered(place, function, arguments, keywords):
    return place, function(*arguments, **keywords)


def _as_they_come(cells, n_jobs):
    try:
        parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    except ValueError as error:
        if "return_as" not in str(error):
            raise
        # Some joblib backends only answer when all is done; a bar then jumps to its end.
        parallel = Parallel(n_jobs=n_jobs)
    return parallel(cells)


delayed_cell = joblib.delayed(run_cell)
