"""The one loop behind every simulation: hide the labels, then buy them back batch by batch."""

import warnings
from functools import partial
from time import perf_counter
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.utils import check_random_state

from skal.utils._metadata import params_of_rows, take_params
from skal.utils._random import child_seed, draw_seed
from skal.utils._repeats import repeats_expected
from skal.utils._tables import as_container, concat_rows, n_rows, take_rows
from skal.utils._tags import accepts_unlabeled
from skal.utils.validation import is_labeled, labeled_target, missing_target, target_values

# Places in the tree of seeds below a run: what a number is drawn for.
_INITIAL, _LEARNER, _ORACLE = 0, 1, 2


class Round(NamedTuple):
    """What one round bought, and how long it took (seconds)."""

    number: int
    queried: np.ndarray
    n_labels: int
    fit_time: float
    query_time: float


def simulate(
    learner, X, y, *, n_initial, n_instances, budget, seed, stratify=True, oracle=None, params=None
):
    """Train `learner` in place on ever more labels, yielding a :class:`Round` after each training.

    Rows whose `y` is missing are never queried, unless the oracle knows more than `y`; an estimator
    that learns from unlabelled rows sees them all the same. The budget, and the first sample, end
    where the rows do that can be asked about. The first sample has its true labels; from then on
    the oracle answers, and in place of a row that it refuses another is asked about. `params` are
    arguments of the learner's `fit` and `teach`, per-row values for all rows.
    """
    params = params or {}
    known = np.flatnonzero(is_labeled(y))
    candidates = known
    if getattr(oracle, "knows_all_rows", False):
        candidates = np.arange(n_rows(y))
    schedule = label_schedule(min(n_initial, len(known)), n_instances, min(budget, len(candidates)))
    stratify = stratify and is_classifier(learner)
    rows = initial_rows(y, known, schedule[0], child_seed(seed, _INITIAL), stratify=stratify)
    shows_pool = accepts_unlabeled(learner.estimator)
    if getattr(oracle, "answers_classes", False) and not is_classifier(learner):
        raise ValueError(
            f"The oracle {oracle!r} answers with classes, and the learner is no classifier. For "
            "regression, add noise to y, or use CallableOracle with a function of your own."
        )
    answers_of = _answers(oracle, X, y, seed)
    at = partial(params_of_rows, params, n_samples=n_rows(y))

    started = perf_counter()
    if shows_pool:
        learner.fit(X, _hide_all_but(y, rows), **params)
    else:
        learner.fit(take_rows(X, rows), labels_of(y, rows), **at(rows))
    yield Round(0, rows, len(rows), perf_counter() - started, 0.0)

    pool, n_labels = np.setdiff1d(candidates, rows), len(rows)
    for number, batch in enumerate(np.diff(schedule), start=1):
        started = perf_counter()
        rows, labels, pool = _ask(learner, X, pool, int(batch), answers_of)
        if len(rows) < batch:
            warnings.warn(
                f"The oracle refused so many rows that {n_labels + len(rows)} labels are all there "
                f"are to get, of a budget of {schedule[-1]}.",
                stacklevel=2,
            )
        if len(rows) == 0:
            return
        n_labels += len(rows)
        queried_at = perf_counter()
        if shows_pool:
            learner.teach(None, labels, rows=rows, **at(rows))
        else:
            # Equal rows of a data set are different rows.
            with repeats_expected():
                learner.teach(take_rows(X, rows), labels, **at(rows))
        fit_time, query_time = perf_counter() - queried_at, queried_at - started
        yield Round(number, rows, n_labels, fit_time, query_time)


def _answers(oracle, X, y, seed):
    """Return a function of row numbers that gives their labels, or missing ones."""
    if oracle is None:
        return lambda rows: labels_of(y, rows)
    oracle = _seeded(oracle, seed, _ORACLE)
    oracle.fit(X, y)

    def answers_of(rows):
        labels = oracle.label(take_rows(X, rows), rows)
        if n_rows(labels) != len(rows):
            raise ValueError(
                f"The oracle {oracle!r} must return a label, or None, for each of the {len(rows)} "
                f"rows it is asked about. Got {n_rows(labels)} instead."
            )
        return labels

    return answers_of


def _ask(learner, X, pool, n_instances, answers_of):
    """Query until so many rows are answered or none is left; return them, labels, the new pool."""
    asked, answered = [], []
    n_missing = n_instances
    while n_missing and len(pool):
        positions = learner.query(take_rows(X, pool), min(n_missing, len(pool)))
        rows, pool = pool[positions], np.delete(pool, positions)
        labels = answers_of(rows)
        given = is_labeled(labels)
        n_missing -= int(given.sum())
        asked.append(rows[given])
        answered.append(labels if given.all() else labeled_target(labels, given))
    if len(answered) == 1:
        return asked[0], answered[0], pool
    answered = [labels for labels in answered if n_rows(labels)]
    if not answered:
        return np.empty(0, dtype=np.int64), None, pool
    labels = answered[0]
    for more in answered[1:]:
        labels = concat_rows(labels, more)
    return np.concatenate(asked), labels, pool


def label_schedule(n_initial, n_instances, budget):
    """Number of labels after each training: the last batch is cut so that it ends at `budget`."""
    return np.append(np.arange(min(n_initial, budget), budget, n_instances), budget)


def initial_rows(y, candidates, n_initial, seed, *, stratify):
    """Draw the rows that are labelled before the first query.

    Uniformly without replacement. With `stratify`, one random row of each class comes first (of
    the most frequent classes, where there are more classes than rows to draw), because a
    classifier cannot start from one class.
    """
    rng = check_random_state(seed)
    shuffled = rng.permutation(candidates)
    if not stratify:
        return shuffled[:n_initial]
    labels = np.asarray(target_values(labels_of(y, shuffled)))
    if labels.ndim > 1 and labels.shape[1] > 1:
        return shuffled[:n_initial]
    _, first, counts = np.unique(labels.ravel(), return_index=True, return_counts=True)
    first = first[np.argsort(-counts, kind="stable")][:n_initial]
    # Shuffled anew: the order of what is left depends on which rows were the first of their class.
    rest = rng.permutation(np.setdiff1d(np.arange(len(shuffled)), first))
    return shuffled[np.concatenate([first, rest[: n_initial - len(first)]])]


def seeded_learner(learner, seed):
    """Return a clone of `learner` whose randomness follows from `seed` (and from its own seed).

    Only the learner's own `random_state` is set: the seeds of estimator and strategy follow from
    it round by round, so that two strategies get the same network initialisation.
    """
    return _seeded(learner, seed, _LEARNER)


def _seeded(estimator, seed, place):
    """Return a clone whose `random_state`, if it has one, mixes its own with `seed` and `place`."""
    estimator = clone(estimator)
    parameters = estimator.get_params(deep=False)
    if "random_state" not in parameters:
        return estimator
    own = parameters["random_state"]
    entropy = () if own is None else (draw_seed(own),)
    return estimator.set_params(random_state=child_seed(seed, place, *entropy))


def labels_of(y, rows):
    """The labels of `rows`, all of which have one, with the dtype they have on their own."""
    mask = np.ones(len(rows), dtype=bool)
    return labeled_target(take_rows(y, rows), mask)


def labeled_part(X, y):
    """Return the rows of `X` and `y` that have a label."""
    mask = is_labeled(y)
    if not mask.any():
        raise ValueError(f"No row to score on has a label (all {len(mask)} are NaN or None).")
    return (X if mask.all() else take_rows(X, mask)), labeled_target(y, mask)


def _hide_all_but(y, rows):
    """Return `y` as an array in which only `rows` have a label."""
    hidden = np.setdiff1d(np.arange(n_rows(y)), rows)
    masked = missing_target(target_values(labels_of(y, rows)), len(hidden))
    return masked[np.argsort(np.concatenate([rows, hidden]))]


def with_row_access(X, y):
    """Return `X` and `y` as containers whose rows can be taken by position."""
    # COO, DOK and other sparse formats have no rows to take; DOK is even a dict.
    X = X.tocsr() if sparse.issparse(X) else as_container(X)
    return X, (y if hasattr(y, "shape") else target_values(y))


def check_params(params, n_samples, owner):
    """Return `params` as a dict; a weight that does not belong to a row is an error."""
    if params is not None and not isinstance(params, dict):
        raise TypeError(
            f"params of {owner} must be a dict of arguments of the learner's fit. "
            f"Got {type(params).__name__} instead."
        )
    return take_params(params or {}, np.ones(n_samples, dtype=bool))


def check_learner(learner, owner):
    """Raise TypeError unless `learner` is an active learner."""
    if isinstance(learner, type):
        raise TypeError(
            f"The 'learner' parameter of {owner} must be an ActiveLearner. Got the class "
            f"{learner.__name__} instead. Pass an instance: ActiveLearner(estimator, strategy)."
        )
    if not all(hasattr(learner, name) for name in ("fit", "query", "teach", "query_strategy")):
        remedy = (
            f"ActiveLearner({type(learner).__name__}(...), RandomSampling())"
            if hasattr(learner, "fit")
            else "ActiveLearner(estimator, strategy)"
        )
        raise TypeError(
            f"The 'learner' parameter of {owner} must be an ActiveLearner. Got {learner!r} "
            f"instead. Wrap the estimator: {remedy}."
        )


def check_budget(n_initial, budget, owner):
    """Raise ValueError if the first sample alone is beyond the budget."""
    if budget < n_initial:
        raise ValueError(
            f"budget of {owner} is the total number of labels and must be at least n_initial="
            f"{n_initial}. Got {budget} instead."
        )
