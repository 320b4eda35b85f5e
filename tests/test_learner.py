"""The contracts of ActiveLearner."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier, is_regressor
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skal import ActiveLearner
from skal.strategies import (
    CoreSet,
    EntropySampling,
    MarginSampling,
    QueryByCommittee,
    RandomSampling,
)
from skal.utils._tags import extend_tags

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
SEED_ROWS = np.r_[0:10, 50:60, 100:110]
POOL_ROWS = np.setdiff1d(np.arange(150), SEED_ROWS)


def _iris_learner(strategy=None, **params):
    learner = ActiveLearner(LogisticRegression(max_iter=1000), strategy, random_state=0, **params)
    return learner.fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS])


class FailingClassifier(ClassifierMixin, BaseEstimator):
    """Learns the majority class, and fails or is interrupted from a number of rows on."""

    def __init__(self, n_max=35, error=RuntimeError):
        self.n_max = n_max
        self.error = error

    def fit(self, X, y):
        if len(X) > self.n_max:
            raise self.error("out of memory")
        self.classes_, counts = np.unique(y, return_counts=True)
        self.majority_ = self.classes_[counts.argmax()]
        return self

    def predict(self, X):
        return np.full(len(X), self.majority_)


class SemiSupervised(ClassifierMixin, BaseEstimator):
    """Says that it learns from unlabelled rows too, and remembers what it was given."""

    def fit(self, X, y):
        self.X_, self.y_ = X, y
        self.classes_ = np.unique(y[~np.isnan(y)])
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])

    def __sklearn_tags__(self):
        tags = extend_tags(super().__sklearn_tags__())
        tags.accepts_unlabeled = True
        return tags


# ---------------------------------------------------------------------- the loop


def test_loop_learns_and_counts():
    learner = _iris_learner(MarginSampling())
    assert learner.n_labeled_ == 30 and learner.n_rounds_ == 0
    pool, labels = X_IRIS[POOL_ROWS], Y_IRIS[POOL_ROWS]
    for _ in range(3):
        rows = learner.query(pool, 5)
        assert rows.dtype == np.int64 and rows.shape == (5,)
        assert learner.teach(pool[rows], labels[rows]) is learner
        pool, labels = np.delete(pool, rows, 0), np.delete(labels, rows)
    assert learner.n_labeled_ == 45 and learner.n_rounds_ == 3
    assert_array_equal(learner.X_labeled_[:30], X_IRIS[SEED_ROWS])
    assert learner.score(X_IRIS, Y_IRIS) > 0.93


def test_refit_equals_training_on_the_same_labels():
    learner = _iris_learner()
    rows = learner.query(X_IRIS[POOL_ROWS], 10)
    learner.teach(X_IRIS[POOL_ROWS][rows], Y_IRIS[POOL_ROWS][rows])
    expected = LogisticRegression(max_iter=1000).fit(learner.X_labeled_, learner.y_labeled_)
    assert_allclose(learner.estimator_.coef_, expected.coef_)
    before = learner.estimator_
    assert_allclose(learner.refit().estimator_.coef_, before.coef_)


def test_query_is_idempotent_and_fresh_every_round():
    learner = _iris_learner()
    pool = X_IRIS[POOL_ROWS]
    first = learner.query(pool, 10)
    assert_array_equal(first, learner.query(pool, 10))
    learner.teach(pool[first], Y_IRIS[POOL_ROWS][first])
    assert not np.array_equal(first, learner.query(pool, 10))


def test_query_differs_between_rounds_although_the_strategy_has_a_fixed_seed():
    from skal.strategies import RandomSampling

    learner = _iris_learner(RandomSampling(random_state=7))
    pool = X_IRIS[POOL_ROWS]
    first = learner.query(pool, 10)
    learner.teach(pool[first], Y_IRIS[POOL_ROWS][first])
    assert not np.array_equal(first, learner.query(pool, 10))


def test_random_state_decides_the_answer():
    pool = X_IRIS[POOL_ROWS]
    same = [_iris_learner().query(pool, 10) for _ in range(2)]
    assert_array_equal(*same)
    other = ActiveLearner(LogisticRegression(max_iter=1000), random_state=1)
    other.fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS])
    assert not np.array_equal(same[0], other.query(pool, 10))


def test_query_leaves_the_learner_alone():
    learner = _iris_learner(EntropySampling())
    before = pickle.dumps(learner)
    np_state = np.random.get_state()[1].copy()
    learner.query(X_IRIS[POOL_ROWS], 10)
    assert pickle.dumps(learner) == before
    assert_array_equal(np_state, np.random.get_state()[1])


def test_query_returns_scores():
    learner = _iris_learner(EntropySampling())
    rows, scores = learner.query(X_IRIS[POOL_ROWS], 4, return_scores=True)
    P = learner.predict_proba(X_IRIS[POOL_ROWS])
    assert_allclose(scores, -(P * np.log(P)).sum(1), rtol=1e-6)
    assert_array_equal(np.sort(scores)[::-1][:4], scores[rows])


# ---------------------------------------------------------------------- partly labelled y


@pytest.mark.parametrize("kind", ["float", "object", "pandas", "polars"])
def test_partly_labelled_y_is_a_whole_round_without_index_juggling(kind):
    names = np.array(["setosa", "versicolor", "virginica"])
    truth = Y_IRIS.astype(float) if kind == "float" else names[Y_IRIS].astype(object)
    y = np.full(150, np.nan if kind == "float" else None, dtype=truth.dtype)
    y[SEED_ROWS] = truth[SEED_ROWS]
    convert = {"pandas": pd.Series, "polars": lambda v: pl.Series(v.tolist())}.get(kind, np.array)
    learner = ActiveLearner(LogisticRegression(max_iter=1000), MarginSampling(), random_state=0)
    for round_ in range(3):
        learner.fit(X_IRIS, convert(y))
        assert learner.n_labeled_ == 30 + 5 * round_
        rows = learner.query(n_instances=5)
        assert not np.isin(rows, np.flatnonzero(pd.notna(y))).any()
        y[rows] = truth[rows]
    assert len(learner.classes_) == 3


def test_teach_by_rows_asks_no_row_twice():
    y = Y_IRIS.astype(float)
    y[POOL_ROWS] = np.nan
    learner = ActiveLearner(LogisticRegression(max_iter=1000), random_state=0).fit(X_IRIS, y)
    asked = []
    for _ in range(4):
        rows = learner.query(n_instances=30)
        learner.teach(None, Y_IRIS[rows], rows=rows)
        asked += rows.tolist()
    assert sorted(asked) == POOL_ROWS.tolist()
    assert learner.n_labeled_ == 150
    with pytest.raises(ValueError, match="nothing to query"):
        learner.query()


def test_refused_rows_are_remembered():
    y = Y_IRIS.astype(float)
    y[POOL_ROWS] = np.nan
    learner = ActiveLearner(LogisticRegression(max_iter=1000), random_state=0).fit(X_IRIS, y)
    rows = learner.query(n_instances=10)
    labels = Y_IRIS[rows].astype(float)
    labels[::2] = np.nan
    learner.teach(None, labels, rows=rows)
    assert learner.n_labeled_ == 35
    assert not np.isin(rows, learner.query(n_instances=110)).any()
    refused = learner.query(n_instances=3)
    learner.teach(None, [None] * 3, rows=refused)
    assert learner.n_labeled_ == 35 and learner.n_rounds_ == 1
    assert not np.isin(refused, learner.query(n_instances=107)).any()


def test_scores_without_a_pool_are_aligned_with_the_data():
    y = Y_IRIS.astype(float)
    y[POOL_ROWS] = np.nan
    learner = ActiveLearner(LogisticRegression(max_iter=1000), MarginSampling()).fit(X_IRIS, y)
    rows, scores = learner.query(n_instances=3, return_scores=True)
    assert scores.shape == (150,)
    assert_array_equal(np.isnan(scores), np.isin(np.arange(150), SEED_ROWS))
    assert np.nanmax(scores) == scores[rows[0]]


def test_integer_minus_one_is_a_class():
    y = np.where(Y_IRIS == 0, -1, 1)
    learner = ActiveLearner(LogisticRegression()).fit(X_IRIS, y)
    assert learner.n_labeled_ == 150
    assert_array_equal(learner.classes_, [-1, 1])


def test_score_leaves_unlabelled_rows_out():
    learner = _iris_learner()
    y = Y_IRIS.astype(float)
    y[::2] = np.nan
    assert learner.score(X_IRIS, y) == learner.estimator_.score(X_IRIS[1::2], Y_IRIS[1::2])
    with pytest.raises(ValueError, match="at least one labelled row"):
        learner.score(X_IRIS, np.full(150, np.nan))


def test_multioutput_rows_with_any_missing_value_are_unlabelled():
    X, y = load_diabetes(return_X_y=True)
    Y = np.column_stack([y, y])
    Y[100:, 1] = np.nan
    learner = ActiveLearner(Ridge()).fit(X, Y)
    assert learner.n_labeled_ == 100
    assert learner.predict(X).shape == (442, 2)


def test_estimators_that_accept_unlabelled_rows_are_given_them():
    y = Y_IRIS.astype(float)
    y[POOL_ROWS] = np.nan
    learner = ActiveLearner(SemiSupervised(), random_state=0).fit(X_IRIS, y)
    assert len(learner.estimator_.X_) == 150
    assert np.isnan(learner.estimator_.y_).sum() == len(POOL_ROWS)
    rows = learner.query(n_instances=10)
    learner.teach(None, Y_IRIS[rows], rows=rows)
    assert np.isnan(learner.estimator_.y_).sum() == len(POOL_ROWS) - 10
    assert len(learner.estimator_.X_) == 150


# ---------------------------------------------------------------------- cold start


def test_cold_start_at_random_and_on_inputs():
    for strategy in (None, CoreSet()):
        learner = ActiveLearner(make_pipeline(StandardScaler(), Ridge()), strategy, random_state=0)
        rows = learner.query(X_IRIS, 10)
        assert len(np.unique(rows)) == 10
        assert_array_equal(rows, learner.query(X_IRIS, 10))
        learner.teach(X_IRIS[rows], Y_IRIS[rows])
        assert learner.n_labeled_ == 10


def test_cold_start_without_a_seed_repeats_its_answer():
    learner = ActiveLearner(Ridge())
    assert_array_equal(learner.query(X_IRIS, 20), learner.query(X_IRIS, 20))


def test_cold_coreset_sees_the_preprocessed_frame():
    frame = pd.DataFrame({"size": [1.0, 2.0, 3.0, 400.0], "kind": ["a", "a", "b", "a"]})
    encode = make_column_transformer((StandardScaler(), ["size"]), (OneHotEncoder(), ["kind"]))
    learner = ActiveLearner(make_pipeline(encode, Ridge()), CoreSet(), random_state=0)
    assert learner.query(frame, 1)[0] == 3


def test_cold_start_says_what_the_others_need():
    learner = ActiveLearner(LogisticRegression(), MarginSampling())
    with pytest.raises(NotFittedError, match="MarginSampling needs a fitted estimator.*RandomSamp"):
        learner.query(X_IRIS, 5)
    with pytest.raises(NotFittedError):
        learner.query()


# ---------------------------------------------------------------------- labels are never lost


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_failed_training_loses_no_label(error):
    learner = ActiveLearner(FailingClassifier(error=error), random_state=0)
    learner.fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS])
    model = learner.estimator_
    rows = learner.query(X_IRIS[POOL_ROWS], 10)
    with pytest.raises(error) as caught:
        learner.teach(X_IRIS[POOL_ROWS][rows], Y_IRIS[POOL_ROWS][rows])
    assert "All 40 labels are kept" in "".join(caught.value.__notes__)
    assert learner.n_labeled_ == 40 and len(learner.y_labeled_) == 40
    assert learner.estimator_ is model
    assert len(learner.predict(X_IRIS)) == 150
    restored = pickle.loads(pickle.dumps(learner)).set_params(estimator=FailingClassifier(n_max=99))
    restored.refit()
    assert restored.estimator_ is not model and restored.n_labeled_ == 40


def test_a_failed_first_fit_changes_nothing():
    learner = _iris_learner()
    learner.set_params(estimator=FailingClassifier(n_max=1))
    before = pickle.dumps(learner.estimator_), learner.n_labeled_
    with pytest.raises(RuntimeError):
        learner.fit(X_IRIS, Y_IRIS)
    assert (pickle.dumps(learner.estimator_), learner.n_labeled_) == before
    with pytest.raises(RuntimeError):
        learner.fit(pd.DataFrame(X_IRIS[:, :2], columns=["a", "b"]), Y_IRIS)
    assert learner.n_features_in_ == 4 and not hasattr(learner, "feature_names_in_")
    assert len(learner.predict(X_IRIS)) == 150


@pytest.mark.parametrize(
    ("X", "y", "match"),
    [
        (X_IRIS[:5, :3], Y_IRIS[:5], "X has 3 features, but ActiveLearner is expecting 4 features"),
        (X_IRIS[:5], Y_IRIS[:4], "same number of rows"),
        (X_IRIS[:5], None, "requires y"),
        (X_IRIS[:5], np.full(5, np.nan), "y has no label"),
        (X_IRIS[:0], Y_IRIS[:0], "0 sample"),
        (None, Y_IRIS[:5], "teach needs X"),
        (pd.DataFrame(X_IRIS[:5]), Y_IRIS[:5], "same kind of container"),
        (X_IRIS[:5], np.column_stack([Y_IRIS[:5]] * 2), "New labels must have the shape"),
        (X_IRIS[:5], ["a", "b", "c", "d", "e"], "New labels must be of the kind"),
    ],
)
def test_a_bad_teach_changes_nothing(X, y, match):
    learner = _iris_learner()
    before = pickle.dumps(learner)
    with pytest.raises((ValueError, TypeError), match=match):
        learner.teach(X, y)
    assert pickle.dumps(learner) == before


def test_bad_rows_change_nothing():
    y = Y_IRIS.astype(float)
    y[POOL_ROWS] = np.nan
    learner = ActiveLearner(LogisticRegression(max_iter=1000)).fit(X_IRIS, y)
    for rows, error in [([0], ValueError), ([20, 20], ValueError), ([0.5], TypeError)]:
        with pytest.raises(error, match="'rows' must be"):
            learner.teach(None, np.zeros(len(rows)), rows=rows)
    with pytest.raises(ValueError, match="every row of the last fit had a label"):
        _iris_learner().teach(None, [1], rows=[3])
    assert learner.n_labeled_ == 30


# ---------------------------------------------------------------------- bad questions


def test_bad_questions_get_clear_errors():
    learner = _iris_learner()
    pool = X_IRIS[:20]
    message = r"n_instances must be an int in \[1, 20\], the number of rows of X_pool. Got 50 inst"
    with pytest.raises(ValueError, match=message):
        learner.query(pool, 50)
    with pytest.raises(ValueError, match="Got 0 instead"):
        learner.query(pool, 0)
    with pytest.raises(TypeError, match="Got 2.5 instead"):
        learner.query(pool, 2.5)
    with pytest.raises(ValueError, match="expecting 4 features"):
        learner.query(pool[:, :2], 1)
    with pytest.raises(ValueError, match="every row of it had a label"):
        learner.query()
    with pytest.raises(ValueError, match=r"no labelled row \(all 3 values"):
        ActiveLearner(Ridge()).fit(X_IRIS[:3], [np.nan] * 3)
    with pytest.raises(ValueError, match="'estimator' parameter of ActiveLearner must be"):
        ActiveLearner(None).fit(X_IRIS, Y_IRIS)
    with pytest.raises(ValueError, match="serves classification. Got Ridge"):
        ActiveLearner(Ridge(), MarginSampling()).fit(X_IRIS, Y_IRIS).query(X_IRIS)


# ---------------------------------------------------------------------- containers


def _as_containers(X):
    names = [f"c{i}" for i in range(X.shape[1])]
    yield "list", X.tolist(), list
    yield "pandas", pd.DataFrame(X, columns=names, index=np.arange(len(X))[::-1]), pd.DataFrame
    yield "polars", pl.DataFrame(X, schema=names), pl.DataFrame
    yield "csr", sp.csr_array(X), sp.csr_array
    yield "csc_matrix", sp.csc_matrix(X), sp.csc_matrix


def test_every_table_gives_the_same_answers():
    expected = None
    for kind, X, container in _as_containers(X_IRIS):
        take = _take(X)
        learner = ActiveLearner(LogisticRegression(max_iter=1000), MarginSampling(), random_state=0)
        learner.fit(take(SEED_ROWS), Y_IRIS[SEED_ROWS])
        rows = learner.query(take(POOL_ROWS), 6)
        learner.teach(take(POOL_ROWS[rows]), Y_IRIS[POOL_ROWS[rows]])
        if kind != "list":
            assert isinstance(learner.X_labeled_, container), kind
        assert learner.X_labeled_.shape == (36, 4)
        rows = rows.tolist() + learner.query(take(POOL_ROWS), 6).tolist()
        expected = expected or rows
        assert rows == expected, kind


def _take(X):
    if isinstance(X, list):
        return lambda rows: [X[i] for i in rows]
    if isinstance(X, pd.DataFrame):
        return lambda rows: X.iloc[rows]
    return lambda rows: X[rows]


def test_pandas_names_are_kept_and_checked():
    frame = load_iris(as_frame=True).data
    learner = ActiveLearner(LogisticRegression(max_iter=1000)).fit(frame, Y_IRIS)
    assert learner.feature_names_in_.tolist() == frame.columns.tolist()
    with pytest.raises(ValueError, match="feature names"):
        learner.query(frame.rename(columns=str.upper), 2)


def test_unequal_categories_are_joined():
    frame = pd.DataFrame({"kind": pd.Categorical(["a", "b"] * 5), "size": np.arange(10.0)})
    more = pd.DataFrame({"kind": pd.Categorical(["c", "a"]), "size": [3.0, 4.5]})
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["kind"]), remainder="passthrough"
    )
    learner = ActiveLearner(make_pipeline(encode, Ridge())).fit(frame, np.arange(10.0))
    learner.teach(more, [1.0, 2.0])
    assert learner.X_labeled_["kind"].dtype == "category"
    assert learner.X_labeled_["kind"].tolist()[-2:] == ["c", "a"]


def test_texts():
    texts = ["good film", "bad film", "good book", "bad book", "nice film", "poor book"]
    y = [1, 0, 1, 0, 1, 0]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    for container in (list, np.array, pd.Series):
        learner = ActiveLearner(model, MarginSampling(), random_state=0)
        learner.fit(container(texts[:4]), y[:4])
        rows = learner.query(container(texts), 2)
        learner.teach(container([texts[i] for i in rows]), [y[i] for i in rows])
        assert learner.n_labeled_ == 6 and learner.score(container(texts), y) > 0.5


def test_frames_with_gaps_and_text_reach_the_pipeline_untouched(shared_data):
    frame = pd.read_csv(shared_data / "house_prices.csv").sample(120, random_state=0)
    numeric = ["LotArea", "LotFrontage", "OverallQual"]
    from sklearn.impute import SimpleImputer

    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numeric),
        (OneHotEncoder(handle_unknown="ignore"), ["Neighborhood", "Alley"]),
    )
    model = TransformedTargetRegressor(
        make_pipeline(prepare, Ridge()), func=np.log1p, inverse_func=np.expm1
    )
    learner = ActiveLearner(model, CoreSet(), random_state=0)
    learner.fit(frame[:40], frame["SalePrice"][:40])
    rows = learner.query(frame[40:], 10)
    learner.teach(frame[40:].iloc[rows], frame["SalePrice"][40:].iloc[rows])
    assert isinstance(learner.y_labeled_, pd.Series) and len(learner.y_labeled_) == 50
    assert learner.score(frame[40:], frame["SalePrice"][40:]) > 0.2


# ---------------------------------------------------------------------- scikit-learn citizenship


def test_task_follows_the_estimator():
    assert is_classifier(ActiveLearner(LogisticRegression()))
    assert is_regressor(ActiveLearner(TransformedTargetRegressor(Ridge())))
    assert hasattr(_iris_learner(), "predict_proba")
    assert not hasattr(ActiveLearner(Ridge()), "predict_proba")
    assert not hasattr(ActiveLearner(Ridge()).fit(X_IRIS, Y_IRIS), "classes_")


def test_clone_pickle_and_repr():
    learner = _iris_learner(MarginSampling())
    pool = X_IRIS[POOL_ROWS]
    restored = pickle.loads(pickle.dumps(learner))
    assert_array_equal(learner.query(pool, 5), restored.query(pool, 5))
    fresh = clone(learner)
    assert not hasattr(fresh, "estimator_") and isinstance(fresh.query_strategy, MarginSampling)
    assert "MarginSampling" in learner._repr_html_()
    assert "ActiveLearner" in ActiveLearner(None)._repr_html_()
    assert repr(learner).startswith("ActiveLearner(estimator=LogisticRegression(")


def test_strategy_and_estimator_parameters_are_searchable():
    learner = ActiveLearner(LogisticRegression(max_iter=1000), CoreSet(), random_state=0)
    params = learner.get_params(deep=True)
    assert {"estimator__C", "query_strategy__space", "query_strategy__selector"} <= params.keys()
    scores = []
    for n_jobs in (1, 2):
        search = GridSearchCV(learner, {"estimator__C": [0.01, 1.0]}, cv=3, n_jobs=n_jobs)
        scores.append(search.fit(X_IRIS, Y_IRIS).cv_results_["mean_test_score"])
    assert_array_equal(*scores)
    assert cross_validate(learner, X_IRIS, Y_IRIS, cv=3)["test_score"].mean() > 0.9


def test_search_inside_the_learner():
    search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": [0.1, 1.0]}, cv=2)
    learner = ActiveLearner(search, MarginSampling(), random_state=0)
    learner.fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS])
    assert learner.query(X_IRIS[POOL_ROWS], 3).shape == (3,)


def test_committee_in_the_learner():
    learner = ActiveLearner(
        RandomForestClassifier(n_estimators=20), QueryByCommittee(), random_state=0
    ).fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS])
    rows = learner.query(X_IRIS[POOL_ROWS], 5)
    assert set(Y_IRIS[POOL_ROWS][rows]) <= {1, 2}


def test_fit_params_are_cut_and_appended():
    sklearn.set_config(enable_metadata_routing=True)
    weights = np.linspace(0.1, 1.0, 150)
    estimator = LogisticRegression(max_iter=1000).set_fit_request(sample_weight=True)
    y = Y_IRIS.astype(float)
    y[POOL_ROWS] = np.nan
    learner = ActiveLearner(estimator, random_state=0).fit(X_IRIS, y, sample_weight=weights)
    rows = learner.query(n_instances=5)
    with pytest.raises(ValueError, match="same per-row arguments"):
        learner.teach(None, Y_IRIS[rows], rows=rows)
    learner.teach(None, Y_IRIS[rows], rows=rows, sample_weight=weights[rows])
    taught = np.r_[SEED_ROWS, rows]
    expected = LogisticRegression(max_iter=1000).fit(
        X_IRIS[taught], Y_IRIS[taught], sample_weight=weights[taught]
    )
    assert_allclose(learner.estimator_.coef_, expected.coef_, rtol=1e-6)
    with pytest.raises(UnsetMetadataPassedError):
        ActiveLearner(LogisticRegression()).fit(X_IRIS, Y_IRIS, sample_weight=weights)


def test_extra_fit_params_need_routing():
    with pytest.raises(ValueError, match="coef_init"):
        ActiveLearner(SGDClassifier()).fit(X_IRIS, Y_IRIS, coef_init=np.ones((3, 4)))


# ---------------------------------------------------------------------- warm start


def test_warm_start_continues_from_the_present_weights():
    X, y = load_digits(return_X_y=True)
    cold = ActiveLearner(SGDClassifier(max_iter=1, tol=None), random_state=0)
    warm = clone(cold).set_params(warm_start=True)
    before = {}
    for learner in (cold, warm):
        learner.fit(X[:100], y[:100])
        before[learner] = learner.estimator_.coef_.copy()
        for start in (100, 120):
            learner.teach(X[start : start + 20], y[start : start + 20])
        assert learner.n_labeled_ == 140
    assert warm.estimator_.t_ > cold.estimator_.t_ or not np.allclose(
        warm.estimator_.coef_, cold.estimator_.coef_
    )
    previous = warm.estimator_
    kept = previous.coef_.copy()
    warm.teach(X[140:160], y[140:160])
    assert_array_equal(previous.coef_, kept)


def test_warm_start_is_refused_where_it_cannot_work():
    with pytest.raises(ValueError, match="no effect inside TransformedTargetRegressor"):
        ActiveLearner(TransformedTargetRegressor(Ridge()), warm_start=True).fit(X_IRIS, Y_IRIS)
    with pytest.raises(ValueError, match="no effect inside GridSearchCV"):
        search = GridSearchCV(SGDClassifier(), {})
        ActiveLearner(make_pipeline(StandardScaler(), search), warm_start=True).fit(X_IRIS, Y_IRIS)
    with pytest.raises(ValueError, match="Ridge has none"):
        ActiveLearner(Ridge(), warm_start=True).fit(X_IRIS, Y_IRIS)


def test_frozen_preprocessing_is_used_as_it_is():
    scaler = FrozenEstimator(StandardScaler().fit(X_IRIS))
    model = make_pipeline(scaler, LogisticRegression())
    learner = ActiveLearner(model, CoreSet(space="inputs"), random_state=0)
    rows = learner.query(X_IRIS, 5)
    learner.fit(X_IRIS[SEED_ROWS], Y_IRIS[SEED_ROWS])
    assert learner.estimator_[0].estimator is scaler.estimator
    assert len(np.unique(rows)) == 5


@pytest.mark.parametrize("kind", ["array", "frame"])
@pytest.mark.parametrize("strategy", [MarginSampling(), QueryByCommittee(), RandomSampling()])
def test_restore_is_the_learner_that_lived_through_the_rounds(strategy, kind):
    X = pd.DataFrame(X_IRIS, columns=list("abcd")) if kind == "frame" else X_IRIS
    y = np.array(["setosa", "versicolor", "virginica"], dtype=object)[Y_IRIS]
    partly = np.full(150, None)
    partly[SEED_ROWS] = y[SEED_ROWS]
    forest = RandomForestClassifier(10)
    lived = ActiveLearner(forest, strategy, random_state=3).fit(X, partly)
    rows, labels = [*SEED_ROWS], [*y[SEED_ROWS]]
    for _ in range(3):
        asked = lived.query(n_instances=4)
        answers = y[asked]
        answers[0] = None  # refused
        lived.teach(None, answers, rows=asked)
        rows, labels = [*rows, *asked], [*labels, *answers]
    restored = ActiveLearner(forest, strategy).restore(X, rows, labels, 3, lived._root_seed)
    assert vars(restored).keys() == vars(lived).keys()
    assert restored.n_labeled_ == lived.n_labeled_ == 39 and restored.n_rounds_ == 3
    assert_array_equal(restored.predict_proba(X), lived.predict_proba(X))
    asked = lived.query(n_instances=5)
    assert_array_equal(restored.query(n_instances=5), asked)
    for learner in (lived, restored):
        learner.teach(None, y[asked], rows=asked)
    assert_array_equal(restored.query(n_instances=5), lived.query(n_instances=5))


def test_restore_gives_unlabelled_rows_to_estimators_that_want_them():
    restored = ActiveLearner(SemiSupervised()).restore(
        X_IRIS, np.arange(0, 150, 5), [None, *Y_IRIS[5::5]], 0, 1
    )
    assert restored.n_labeled_ == 29
    assert int(np.isnan(restored.estimator_.y_).sum()) == 120


def test_restore_goes_on_from_warm_weights():
    def restored(learner, n_rounds):
        rows = np.arange(0, 150, 5)
        return learner.restore(X_IRIS, rows, Y_IRIS[rows], n_rounds, 1).estimator_.coef_

    model = SGDClassifier(max_iter=1, tol=None)
    warm = ActiveLearner(model, warm_start=True)
    assert_array_equal(restored(warm, 0), restored(ActiveLearner(model), 0))
    assert not np.array_equal(restored(warm, 1), restored(ActiveLearner(model, warm_start=True), 1))


@pytest.mark.parametrize(
    ("rows", "labels", "error", "match"),
    [
        ([0, 0], [1, 2], ValueError, "distinct positions of rows of X"),
        ([0, 150], [1, 2], ValueError, "distinct positions of rows of X"),
        ([0.5, 1], [1, 2], TypeError, "1-D array of int positions"),
        ([0, 1], [1], ValueError, "same number of rows"),
        ([0, 1], [None, None], ValueError, "labels has no label"),
    ],
)
def test_a_bad_restore_changes_nothing(rows, labels, error, match):
    learner = _iris_learner()
    before = dict(vars(learner))
    with pytest.raises(error, match=match):
        learner.restore(X_IRIS, rows, labels, 1, 0)
    assert vars(learner) == before


def test_a_strategy_set_later_is_in_use_after_the_next_training():
    X, y = load_iris(return_X_y=True)
    learner = ActiveLearner(LogisticRegression(max_iter=500), RandomSampling(), random_state=0)
    learner.fit(X[::10], y[::10])
    at_random = learner.query(X, 20)
    learner.set_params(query_strategy=MarginSampling())
    np.testing.assert_array_equal(learner.query(X, 20), at_random)
    learner.teach(X[1::10], y[1::10])
    assert isinstance(learner.query_strategy_, MarginSampling)
    other = ActiveLearner(LogisticRegression(max_iter=500), MarginSampling(), random_state=0)
    other.fit(X[::10], y[::10]).teach(X[1::10], y[1::10])
    np.testing.assert_array_equal(learner.query(X, 20), other.query(X, 20))
