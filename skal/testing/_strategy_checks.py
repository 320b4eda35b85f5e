"""Public checks for your own query strategies and batch selectors.

scikit-learn's ``check_estimator`` says whether a strategy is a good transformer. These checks say
whether it is a good query strategy: what it answers, what it leaves alone, and where it works.
"""

import pickle
import sys
from functools import partial

import joblib
import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import get_tags

from skal.learner import ActiveLearner
from skal.testing._selector_checks import check_batch_selector
from skal.utils._random import set_random_states
from skal.utils._tags import NEEDS
from skal.views import find_net, has_net

__all__ = ["check_batch_selector", "check_query_strategy", "query_strategy_checks"]

_N_LABELED = 40


def check_query_strategy(strategy):
    """Check that a query strategy keeps the contract of :class:`~skal.strategies.QueryStrategy`.

    Parameters
    ----------
    strategy : QueryStrategy
        An instance with an unfitted `estimator` that learns from 40 rows of 5 columns, or with
        ``estimator=None`` if it needs none. It is cloned, never changed.

    Raises
    ------
    AssertionError
        If the strategy breaks the contract; the message says how.

    See Also
    --------
    query_strategy_checks : The same checks one by one, for ``pytest.mark.parametrize``.
    check_batch_selector : The same for batch selectors.

    Notes
    -----
    Checked are: positions (distinct, in range, int64, all of the pool when asked for all of it,
    one-row pools, duplicates), the same answer to the same question, errors for bad questions,
    `transform` row by row, the same answer for every kind of container and wrapper, and that
    pool, estimator, train flags and global random generators stay untouched.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.strategies import MarginSampling
    >>> from skal.testing import check_query_strategy
    >>> check_query_strategy(MarginSampling(LogisticRegression()))
    """
    for check in query_strategy_checks(strategy):
        check()


def query_strategy_checks(strategy):
    """Return the checks of :func:`check_query_strategy`, one callable each.

    Parameters
    ----------
    strategy : QueryStrategy
        As for :func:`check_query_strategy`.

    Returns
    -------
    checks : list of callable
        Functions without arguments; each has a readable ``__name__``.
    """
    checks = []
    for function in _CHECKS:
        check = partial(function, strategy)
        check.__name__ = function.__name__.lstrip("_")
        checks.append(check)
    return checks


# ---------------------------------------------------------------------- data and helpers


def _task(strategy):
    if strategy.estimator is not None:
        return get_tags(strategy.estimator).estimator_type
    return get_tags(strategy).query_strategy_tags.tasks[0]


def _data(strategy, n_pool=30):
    """Return labelled rows, their labels and a pool, float64."""
    n_samples = _N_LABELED + n_pool
    if _task(strategy) == "classifier":
        X, y = make_classification(
            n_samples, n_features=5, n_informative=4, n_redundant=0, n_classes=3, random_state=0
        )
    else:
        X, y = make_regression(n_samples, n_features=5, noise=1.0, random_state=0)
        y = y / y.std()
    return X[:_N_LABELED], y[:_N_LABELED], X[_N_LABELED:]


def _seeded(strategy, seed=0):
    return clone(strategy).set_params(random_state=seed)


def _fitted_estimator(strategy, X, y):
    """Return the strategy's estimator, fitted from a fixed seed, or None if it has none."""
    if strategy.estimator is None:
        return None
    estimator = strategy.prepare_estimator(clone(strategy.estimator))
    set_random_states(estimator, 0, only_missing=True)
    return estimator.fit(X, y)


def _around(strategy, estimator, X, y):
    """Return a seeded strategy, fitted around a fitted estimator (or none)."""
    frozen = None if estimator is None else FrozenEstimator(estimator)
    return _seeded(strategy).set_params(estimator=frozen).fit(X, y)


def _frozen(strategy, X, y):
    """Return a fitted strategy around a frozen estimator, and that estimator."""
    estimator = _fitted_estimator(strategy, X, y)
    return _around(strategy, estimator, X, y), estimator


def _assert_raises(errors, call, what):
    try:
        call()
    except errors as error:
        assert len(str(error)) > 20, f"{what}: the error says too little: {error}"
        return
    raise AssertionError(f"{what} should raise {errors}, but nothing was raised.")


def _fingerprint(estimator):
    """A hash of what a fitted estimator has learnt, and of the train flags of its net."""
    if estimator is None:
        return None
    if not has_net(estimator):
        return joblib.hash(estimator)
    _, net = find_net(estimator)
    state = {name: value.detach().cpu().numpy() for name, value in net.module_.state_dict().items()}
    flags = [module.training for module in net.module_.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.module_.modules()]
    return joblib.hash((state, flags, hooks))


# ---------------------------------------------------------------------- the checks


def _check_positions(strategy):
    X, y, pool = _data(strategy)
    fitted = _seeded(strategy).fit(X, y)
    name = type(strategy).__name__
    for n_instances in (1, 7, len(pool)):
        rows = fitted.query(pool, n_instances)
        assert isinstance(rows, np.ndarray) and rows.dtype == np.int64, (
            f"{name}.query must return an int64 ndarray. Got {type(rows)} instead."
        )
        assert rows.shape == (n_instances,), f"{name}.query({n_instances}) gave shape {rows.shape}."
        assert len(np.unique(rows)) == n_instances, f"{name}.query repeats a position: {rows}."
        assert rows.min() >= 0 and rows.max() < len(pool), f"{name}.query left the pool: {rows}."
    assert fitted.query(pool[:1], 1).tolist() == [0], f"{name}.query must serve a one-row pool."


def _check_scores(strategy):
    X, y, pool = _data(strategy)
    fitted = _seeded(strategy).fit(X, y)
    rows, scores = fitted.query(pool, 5, return_scores=True)
    name = type(strategy).__name__
    assert scores.shape == (len(pool),) and scores.dtype == np.float64, (
        f"{name}.query must return one float64 score per row. Got {scores.dtype}{scores.shape}."
    )
    assert not np.isnan(scores).any(), f"{name}.query returned NaN scores."
    assert np.array_equal(rows, fitted.query(pool, 5)), (
        f"{name}.query answers otherwise when it is asked for scores too."
    )


def _check_bad_questions(strategy):
    X, y, pool = _data(strategy)
    name = type(strategy).__name__
    _assert_raises(
        NotFittedError, lambda: _seeded(strategy).query(pool, 1), f"{name}.query before fit"
    )
    fitted = _seeded(strategy).fit(X, y)
    for n_instances in (0, -1, len(pool) + 1):
        _assert_raises(
            ValueError, lambda n=n_instances: fitted.query(pool, n), f"n_instances={n_instances}"
        )
    for n_instances in (1.5, "3", True):
        _assert_raises(
            TypeError, lambda n=n_instances: fitted.query(pool, n), f"n_instances={n_instances!r}"
        )
    _assert_raises(ValueError, lambda: fitted.query(pool[:0], 1), "an empty pool")
    _assert_raises(ValueError, lambda: fitted.query(pool[:, :-1], 1), "a pool of other columns")


def _check_same_question_same_answer(strategy):
    X, y, pool = _data(strategy)
    name = type(strategy).__name__
    fitted, estimator = _frozen(strategy, X, y)
    first = fitted.query(pool, 7)
    assert np.array_equal(first, fitted.query(pool, 7)), (
        f"{name}.query gives another answer when asked again."
    )
    again, _ = _frozen(strategy, X, y) if estimator is None else (clone(fitted).fit(X, y), None)
    assert np.array_equal(first, again.query(pool, 7)), (
        f"{name} gives another answer from the same random_state."
    )
    restored = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(first, restored.query(pool, 7)), f"{name} does not survive pickle."


def _check_duplicates(strategy):
    X, y, pool = _data(strategy)
    fitted = _seeded(strategy).fit(X, y)
    twice = np.vstack([pool, pool])
    rows = fitted.query(twice, len(twice))
    assert sorted(rows.tolist()) == list(range(len(twice))), (
        f"{type(strategy).__name__} loses or repeats positions where rows are duplicates."
    )
    same = np.repeat(pool[:1], 12, axis=0)
    assert len(np.unique(fitted.query(same, 5))) == 5


def _check_nothing_touched(strategy):
    X, y, pool = _data(strategy)
    estimator = _fitted_estimator(strategy, X, y)
    name = type(strategy).__name__
    before = pool.copy(), _fingerprint(estimator)
    fitted = _around(strategy, estimator, X, y)
    np_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    attributes = {key: id(value) for key, value in vars(fitted).items()}
    fitted.query(pool, 7)
    fitted.transform(pool)
    assert np.array_equal(before[0], pool), f"{name} changed the pool."
    assert before[1] == _fingerprint(estimator), (
        f"{name} changed the weights, train flags or hooks of the estimator it reads."
    )
    after = {key: id(value) for key, value in vars(fitted).items()}
    assert attributes == after, (
        f"{name}.query or transform left attributes behind, or changed some: "
        f"{sorted(set(attributes.items()) ^ set(after.items()))}."
    )
    assert np.array_equal(np_state, np.random.get_state()[1]), f"{name} used NumPy's global state."
    assert torch.equal(torch_state, torch.get_rng_state()), f"{name} used torch's global state."


def _check_row_by_row(strategy):
    X, y, pool = _data(strategy)
    fitted = _seeded(strategy).fit(X, y)
    name = type(strategy).__name__
    Z = fitted.transform(pool)
    assert Z.ndim == 2 and len(Z) == len(pool) and Z.dtype == np.float32, (
        f"{name}.transform must return float32 of shape (n_samples, n_components)."
    )
    assert Z.shape[1] == len(fitted.get_feature_names_out())
    alone = np.vstack([fitted.transform(pool[i : i + 1]) for i in range(len(pool))])
    scale = np.abs(Z).max() + 1e-12
    assert np.allclose(Z, alone, atol=1e-4 * scale), (
        f"{name}.transform must treat every row on its own; it depends on the other rows."
    )


def _check_containers(strategy):
    X, y, pool = _data(strategy)
    estimator = strategy.estimator
    name = type(strategy).__name__
    on_arrays, _ = _frozen(strategy, X, y)
    expected = on_arrays.query(pool, 7)
    for kind, convert in _containers(estimator):
        if "frame" in kind:
            fitted, _ = _frozen(strategy, convert(X), y)
        else:
            # Trees grow otherwise on sparse data: the model stays the one fitted on arrays.
            fitted = clone(on_arrays).fit(convert(X), y)
        assert np.array_equal(expected, fitted.query(convert(pool), 7)), (
            f"{name} answers otherwise for {kind} than for an array."
        )


def _containers(estimator):
    """Yield the names and converters of the containers `estimator` takes."""
    columns = [f"x{i}" for i in range(5)]
    if "pandas" in sys.modules:
        import pandas as pd

        shuffled = np.random.RandomState(0).permutation
        yield (
            "a pandas frame with a shuffled index",
            lambda X: pd.DataFrame(X, columns=columns, index=shuffled(len(X))),
        )
    if "polars" in sys.modules:
        import polars as pl

        yield "a polars frame", lambda X: pl.DataFrame(X, schema=columns)
    if estimator is not None and get_tags(estimator).input_tags.sparse:
        from scipy.sparse import csr_array

        yield "a CSR array", csr_array


def _check_wrappers(strategy):
    """A frozen predictor on prepared data, and the same inside wrappers, give one answer."""
    if strategy.estimator is None:
        return
    X, y, pool = _data(strategy)
    scaler = MinMaxScaler().fit(X)
    prepared = scaler.transform(X), scaler.transform(pool)
    fitted, estimator = _frozen(strategy, prepared[0], y)
    expected = fitted.query(prepared[1], 7)
    frozen = FrozenEstimator(estimator)
    pipeline = Pipeline([("scale", scaler), ("predict", frozen)])
    wrapped = {
        "Pipeline": (pipeline, X, pool),
        "GridSearchCV": (GridSearchCV(pipeline, {}, cv=2).fit(X, y), X, pool),
        "ActiveLearner": (ActiveLearner(frozen).fit(prepared[0], y), *prepared),
    }
    for kind, (wrapper, labeled, rows) in wrapped.items():
        around = clone(fitted).set_params(estimator=FrozenEstimator(wrapper)).fit(labeled, y)
        assert np.array_equal(expected, around.query(rows, 7)), (
            f"{type(strategy).__name__} answers otherwise when its estimator is in a {kind}."
        )


def _check_in_learner(strategy):
    X, y, pool = _data(strategy)
    own = strategy.estimator
    if own is None:
        own = LogisticRegression() if _task(strategy) == "classifier" else Ridge()
    plugged = clone(strategy).set_params(estimator=None)
    learner = ActiveLearner(own, plugged, random_state=0).fit(X, y)
    before = _fingerprint(learner.estimator_)
    rows = learner.query(pool, 5)
    assert np.array_equal(rows, learner.query(pool, 5)), "learner.query must be idempotent."
    assert before == _fingerprint(learner.estimator_), "query changed the learner's estimator."
    assert plugged.estimator is None, "the strategy given to a learner must stay as it was."
    tags = get_tags(plugged).query_strategy_tags
    cold = ActiveLearner(own, plugged, random_state=0)
    if tags.requires_fitted_estimator:
        _assert_raises(NotFittedError, lambda: cold.query(pool, 3), "query before any label")
    else:
        assert len(np.unique(cold.query(pool, 3))) == 3
        assert np.array_equal(cold.query(pool, 3), cold.query(pool, 3))


def _check_tags(strategy):
    name = type(strategy).__name__
    tags = get_tags(strategy).query_strategy_tags
    assert tags is not None, f"{name} has no query_strategy_tags."
    assert set(tags.needs) <= set(NEEDS), f"{name}: unknown needs {set(tags.needs) - set(NEEDS)}."
    assert tags.tasks and set(tags.tasks) <= {"classifier", "regressor"}
    X, y, _ = _data(strategy)
    for task, estimator in (("classifier", LogisticRegression()), ("regressor", Ridge())):
        if task not in tags.tasks:
            other = clone(strategy).set_params(estimator=estimator)
            labels = (y > np.median(y)).astype(int) if task == "classifier" else y * 1.0
            _assert_raises(ValueError, lambda o=other, t=labels: o.fit(X, t), f"{name} on {task}s")


_CHECKS = (
    _check_positions,
    _check_scores,
    _check_bad_questions,
    _check_same_question_same_answer,
    _check_duplicates,
    _check_nothing_touched,
    _check_row_by_row,
    _check_containers,
    _check_wrappers,
    _check_in_learner,
    _check_tags,
)
