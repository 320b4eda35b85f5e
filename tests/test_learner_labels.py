"""Labels: checked before they are kept, taken back, corrected, promoted, never lost or changed."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skal import ActiveLearner
from skal.neural_network import NeuralNetClassifier
from skal.strategies import CoreSet, MarginSampling

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
NAMES = np.array(["a", "b", "c"])[Y_IRIS]
FIRST = np.r_[0:10, 50:60, 100:110]
# No two rows of these are equal.
LATER = np.r_[10:14, 60:64, 110:114]


def _logistic(**params):
    return LogisticRegression(max_iter=1000, **params)


def _learner(y=Y_IRIS, estimator=None, **params):
    learner = ActiveLearner(estimator or _logistic(), MarginSampling(), random_state=0, **params)
    return learner.fit(X_IRIS[FIRST], y[FIRST])


def _partly(y=Y_IRIS):
    labels = np.full(150, None, dtype=object)
    labels[FIRST] = y[FIRST]
    return ActiveLearner(_logistic(), MarginSampling(), random_state=0).fit(X_IRIS, labels)


def _refused(learner, X, y, match, error=ValueError, **params):
    """A bad call changes nothing, and the next good one trains."""
    before = pickle.dumps(learner)
    with pytest.raises(error, match=match):
        learner.teach(X, y, **params)
    assert pickle.dumps(learner) == before


# ---------------------------------------------------------------------- checked before kept


@pytest.mark.parametrize(
    ("y", "bad", "match"),
    [
        (NAMES.astype(object), [1, 0], r"of the kind .*text: 'a', 'b', 'c'.* Got 1 instead"),
        (NAMES, ["a", 0.5], "must be of one kind"),
        (NAMES, [True, False], "Got True instead"),
        (Y_IRIS, ["a", "b"], "Got 'a' instead"),
        (Y_IRIS, [0.5, 1.0], "whole numbers .*0, 1, 2.* Got 0.5 instead"),
        (Y_IRIS, [np.inf, 1.0], "must be finite. Got inf"),
        (Y_IRIS.astype(float), [-np.inf, np.nan], "must be finite"),
        (pd.Series(NAMES), pd.Series([1, 0]), "of the kind"),
        (pl.Series(NAMES), [1, 0], "of the kind"),
        (torch.tensor(Y_IRIS), [0.5, 0.0], "whole numbers"),
    ],
)
def test_labels_of_another_kind_are_refused(y, bad, match):
    learner = _learner(y)
    _refused(learner, X_IRIS[LATER[:2]], bad, match)
    good = y[LATER] if not isinstance(y, pd.Series) else y.iloc[LATER]
    learner.teach(X_IRIS[LATER], good)
    assert learner.n_labeled_ == 42


@pytest.mark.parametrize("bad", [["a", "b"], [np.inf, 0.0], [[1.0, 2.0], [0.0, 1.0]]])
def test_labels_that_are_no_numbers_are_refused_by_regressors(bad):
    learner = _learner(Y_IRIS * 1.5, Ridge())
    _refused(learner, X_IRIS[LATER[:2]], bad, "Labels must be finite|of the kind|the shape")
    with pytest.raises(ValueError, match="Labels of a regressor must be numbers. Got 'a'"):
        ActiveLearner(Ridge()).fit(X_IRIS, NAMES)
    with pytest.raises(ValueError, match="must be finite"):
        ActiveLearner(Ridge()).fit(X_IRIS[:2], [np.inf, 1.0])


def test_labels_outside_the_declared_classes_are_refused():
    net = NeuralNetClassifier(max_epochs=2, classes=["a", "b", "c"], random_state=0)
    for estimator in (net, make_pipeline(StandardScaler(), net)):
        learner = _learner(NAMES, estimator)
        match = r"classes of NeuralNetClassifier\(classes=...\), 'a', 'b', 'c'. Got 'd'"
        _refused(learner, X_IRIS[LATER[:2]], ["a", "d"], match)
        learner.teach(X_IRIS[LATER], NAMES[LATER])


def test_a_new_class_is_refused_under_warm_start():
    learner = _learner(np.minimum(Y_IRIS, 1), SGDClassifier(), warm_start=True)
    _refused(learner, X_IRIS[LATER[:2]], [0, 2], "goes on learning.*0, 1. Got 2")
    learner.teach(X_IRIS[LATER], np.minimum(Y_IRIS[LATER], 1))
    cold = _learner(np.minimum(Y_IRIS, 1))
    assert_array_equal(cold.teach(X_IRIS[LATER[:2]], [0, 2]).classes_, [0, 1, 2])


def test_indicators_stay_indicators():
    Y = np.eye(3, dtype=int)[Y_IRIS]
    learner = ActiveLearner(RandomForestClassifier(5), random_state=0).fit(X_IRIS[FIRST], Y[FIRST])
    _refused(learner, X_IRIS[LATER[:1]], [[0, 1, 7]], "0 or 1 for each output. Got 7")
    assert learner.teach(X_IRIS[LATER], Y[LATER]).n_labeled_ == 42


def test_rows_that_the_model_cannot_read_are_refused():
    learner = _learner()
    rows = X_IRIS[LATER[:2]].copy()
    rows[1, 2] = np.nan
    _refused(learner, rows, [0, 1], "(?s)cannot be learnt from: .*NaN.*Nothing was kept")
    learner.teach(X_IRIS[LATER], Y_IRIS[LATER])


def test_what_only_the_present_encoder_does_not_know_is_learnt():
    frame = pd.DataFrame({"k": list("uvuvuv"), "a": np.arange(6.0)})
    columns = make_column_transformer((OneHotEncoder(), ["k"]), remainder="passthrough")
    learner = ActiveLearner(make_pipeline(columns, Ridge()), random_state=0)
    learner.fit(frame, np.arange(6.0))
    learner.teach(pd.DataFrame({"k": ["w"], "a": [7.0]}), [9.0])
    assert learner.n_labeled_ == 7 and learner.estimator_[0].transform(frame).shape == (6, 4)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_while_in_doubt_keeps_the_labels(error):
    class Interrupted(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            if len(X) > 30:
                raise error
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            if np.isnan(X).any():
                raise ValueError("NaN")
            return np.full(len(X), self.classes_[0])

    learner = _learner(estimator=Interrupted())
    with pytest.raises(error) as caught:
        learner.teach(np.full((2, 4), np.nan), [0, 1])
    assert learner.n_labeled_ == 32 and "All 32 labels are kept" in caught.value.__notes__[0]


def test_the_note_of_a_failed_training_names_the_rows_taught_last():
    class Fails(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            if 7 in y:
                raise RuntimeError("no sevens")
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return np.full(len(X), self.classes_[0])

    learner = _learner(estimator=Fails())
    with pytest.raises(RuntimeError) as caught:
        learner.teach(X_IRIS[LATER], [7] + [0] * 11)
    assert "range(30, 42) of X_labeled_: forget(range(30, 42))" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError) as caught:
        learner.teach(X_IRIS[20:22], [0, 1])
    assert "range(30, 44)" in caught.value.__notes__[0]
    assert learner.relabel(30, 2).n_labeled_ == 44
    with pytest.raises(RuntimeError):
        learner.relabel(30, 7)
    assert learner.forget(range(30, 42)).n_labeled_ == 32


# ---------------------------------------------------------------------- taken back, corrected


def _same_model(learner, X, y):
    expected = _logistic().fit(X, y)
    assert_allclose(learner.estimator_.coef_, expected.coef_, rtol=1e-5, atol=1e-6)


def test_forget_trains_without_the_labels():
    learner = _learner().teach(X_IRIS[LATER], Y_IRIS[LATER])
    learner.forget([-1, 0, 35])
    kept = np.delete(np.r_[FIRST, LATER], [41, 0, 35])
    assert learner.n_labeled_ == 39
    assert_array_equal(learner.X_labeled_, X_IRIS[kept])
    assert_array_equal(learner.y_labeled_, Y_IRIS[kept])
    _same_model(learner, X_IRIS[kept], Y_IRIS[kept])
    learner.teach(X_IRIS[20:22], [0, 0])
    assert learner.n_labeled_ == 41


def test_relabel_trains_on_the_corrected_labels():
    learner = _learner(NAMES).teach(X_IRIS[LATER], NAMES[LATER])
    learner.relabel([41, 3], ["a", "b"])
    right = np.r_[NAMES[FIRST], NAMES[LATER]]
    right[[41, 3]] = "a", "b"
    assert_array_equal(learner.y_labeled_, right)
    assert_array_equal(learner.X_labeled_, X_IRIS[np.r_[FIRST, LATER]])
    _same_model(learner, learner.X_labeled_, right)
    learner.relabel(-1, "a_longer_name")
    assert learner.classes_.tolist() == ["a", "a_longer_name", "b", "c"]


@pytest.mark.parametrize("container", [pd.Series, pl.Series, torch.tensor, np.array])
def test_corrections_in_every_container(container):
    y = container(Y_IRIS)
    learner = ActiveLearner(_logistic(), random_state=0)
    learner.fit(X_IRIS[FIRST], y.iloc[FIRST] if container is pd.Series else y[FIRST])
    learner.relabel([0, 29], [1, 2]).forget([1])
    assert type(learner.y_labeled_) is type(y) and len(learner.y_labeled_) == 29
    assert np.asarray(learner.y_labeled_)[[0, 28]].tolist() == [1, 2]


def test_forgotten_rows_can_be_asked_about_again():
    learner = _partly()
    rows = learner.query(n_instances=5)
    learner.teach(None, Y_IRIS[rows], rows=rows)
    assert not np.isin(rows, learner.query(n_instances=115)).any()
    learner.forget(rows=rows[:2])
    assert learner.n_labeled_ == 33
    assert np.isin(rows, learner.query(n_instances=117)).tolist() == [True] * 2 + [False] * 3
    learner.teach(None, Y_IRIS[rows[:2]], rows=rows[:2])
    assert learner.n_labeled_ == 35


def test_refused_rows_can_be_asked_about_again():
    learner = _partly()
    rows = learner.query(n_instances=5)
    learner.teach(None, [None] * 5, rows=rows)
    learner.forget(rows=rows[1:3])
    assert learner.n_labeled_ == 30
    assert (
        np.isin(rows, learner.query(n_instances=117)).tolist() == [False, True, True] + [False] * 2
    )


def test_rows_of_a_fully_labelled_fit_can_be_forgotten_and_asked_about():
    learner = _learner().teach(X_IRIS[LATER], Y_IRIS[LATER])
    learner.forget(rows=[3, 7])
    assert sorted(learner.query(n_instances=2)) == [3, 7]
    learner.teach(None, Y_IRIS[FIRST[[3, 7]]], rows=[3, 7])
    learner.relabel(None, [2], rows=[7]).forget(rows=[7])
    assert learner.query(n_instances=1).tolist() == [7]
    learner.teach(None, [0], rows=[7]).forget(rows=[5])
    assert learner.query().tolist() == [5]
    assert learner.n_labeled_ == 41


def test_relabel_by_rows():
    learner = _partly(NAMES)
    rows = learner.query(n_instances=3)
    learner.teach(None, ["a", "b", "c"], rows=rows)
    learner.relabel(None, ["c", "c"], rows=rows[[2, 0]])
    assert learner.y_labeled_[-3:].tolist() == ["c", "b", "c"]
    learner.relabel(None, "b", rows=FIRST[4])
    assert learner.y_labeled_[4] == "b"


def test_corrections_train_from_scratch_under_warm_start():
    learner = _learner(estimator=SGDClassifier(random_state=0), warm_start=True)
    learner.teach(X_IRIS[LATER], Y_IRIS[LATER]).relabel([0], [1])
    rows, labels = learner.X_labeled_, learner.y_labeled_
    afresh = SGDClassifier(random_state=0).fit(rows, labels)
    assert_allclose(learner.estimator_.coef_, afresh.coef_)
    went_on = learner.teach(X_IRIS[20:24], Y_IRIS[20:24]).estimator_.coef_
    assert not np.allclose(
        went_on, SGDClassifier(random_state=0).fit(learner.X_labeled_, learner.y_labeled_).coef_
    )


def test_weights_follow_the_labels():
    weights = np.linspace(0.1, 2.0, 150)
    learner = ActiveLearner(_logistic(), random_state=0)
    learner.fit(X_IRIS[FIRST], Y_IRIS[FIRST], sample_weight=weights[FIRST])
    learner.teach(X_IRIS[LATER], Y_IRIS[LATER], sample_weight=weights[LATER])
    learner.forget([5, 40])
    kept = np.delete(np.r_[FIRST, LATER], [5, 40])
    expected = _logistic().fit(X_IRIS[kept], Y_IRIS[kept], sample_weight=weights[kept])
    assert_allclose(learner.estimator_.coef_, expected.coef_, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda fitted: fitted.forget([30]),
            ValueError,
            "distinct positions of rows of X_labeled_",
        ),
        (lambda fitted: fitted.forget([1, 1]), ValueError, "distinct"),
        (lambda fitted: fitted.forget([1, -29]), ValueError, "distinct"),
        (lambda fitted: fitted.forget([-31]), ValueError, "distinct"),
        (lambda fitted: fitted.forget([0.5]), TypeError, "'positions' must be a 1-D array of int"),
        (lambda fitted: fitted.forget("all"), TypeError, "'positions' must be"),
        (lambda fitted: fitted.forget(), ValueError, "either positions"),
        (lambda fitted: fitted.forget([1], rows=[1]), ValueError, "either positions"),
        (lambda fitted: fitted.forget(range(30)), ValueError, "leave a label to learn from"),
        (lambda fitted: fitted.forget(rows=[99]), ValueError, "'rows' must be distinct"),
        (lambda fitted: fitted.relabel([0], ["x"]), ValueError, "Got 'x' instead"),
        (lambda fitted: fitted.relabel([0], [None]), ValueError, "Use forget"),
        (lambda fitted: fitted.relabel([0, 1], [1]), ValueError, "each of the 2 positions"),
        (lambda fitted: fitted.relabel([0], [0.5]), ValueError, "whole numbers"),
        (lambda fitted: fitted.relabel([77], [1]), ValueError, "distinct positions"),
    ],
)
def test_a_bad_correction_changes_nothing(call, error, match):
    for learner in (_learner(), _partly()):
        before = pickle.dumps(learner)
        with pytest.raises(error, match=match):
            call(learner)
        assert pickle.dumps(learner) == before


# ---------------------------------------------------------------------- promotion


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (torch.arange(30) % 7, [0.5, 1.7]),
        (torch.arange(30, dtype=torch.uint8), [1000, -3]),
        (torch.arange(30, dtype=torch.float32), [1e-9, 16777217.0]),
        (torch.arange(30) > 3, [2, 3]),
        (torch.arange(30), torch.tensor([0.25, 1e9], dtype=torch.float64)),
        (np.arange(30, dtype=np.int8), [1000, 0.5]),
        (pd.Series(np.arange(30)), [0.5, 1.7]),
        (pd.Series(np.arange(30) > 3), [2, 3]),
        (pd.Series(np.arange(30), dtype="Int64"), [0.5, 2.0]),
        (pl.Series(np.arange(30)), [0.5, 1.5]),
        (pl.Series(np.arange(30) > 3), [2, 3]),
        (pl.Series(np.arange(30, dtype=np.float32)), [1e-9, 2.0]),
        (pl.Series(np.arange(30, dtype=np.uint8)), np.array([1000, -3])),
        (pl.Series(np.arange(30)), np.array([0, 1], dtype=np.int32)),
    ],
)
def test_every_label_keeps_its_value(first, more):
    learner = ActiveLearner(Ridge(), random_state=0).fit(X_IRIS[FIRST], first)
    learner.teach(X_IRIS[LATER[:2]], more)
    assert type(learner.y_labeled_) is type(first)
    got = np.asarray(learner.y_labeled_, dtype=np.float64)
    assert_array_equal(got, np.r_[np.asarray(first, float), np.asarray(more, float)])


@pytest.mark.parametrize(
    "first",
    [
        pd.Series(NAMES[FIRST], dtype="category"),
        pd.Series(NAMES[FIRST], dtype=object),
        pd.Series(NAMES[FIRST]),
        pl.Series(NAMES[FIRST], dtype=pl.Categorical),
        pl.Series(NAMES[FIRST]),
        pl.Series(NAMES[FIRST], dtype=pl.Enum(["a", "b", "c", "d"])),
    ],
)
def test_names_in_whatever_they_come(first):
    module = pl if isinstance(first, pl.Series) else pd
    for more in (["d", "a"], np.array(["d", "a"]), module.Series(["d", "a"])):
        learner = ActiveLearner(_logistic(), random_state=0).fit(X_IRIS[FIRST], first)
        learner.teach(X_IRIS[LATER[:2]], more)
        assert learner.classes_.tolist() == ["a", "b", "c", "d"]
        if first.dtype != object and not isinstance(first.dtype, pd.CategoricalDtype):
            assert learner.y_labeled_.dtype == first.dtype


@pytest.mark.parametrize(
    "first",
    [
        pd.Series(pd.Categorical(NAMES[FIRST], ["a", "b", "c"], ordered=True)),
        pl.Series(NAMES[FIRST], dtype=pl.Enum(["a", "b", "c"])),
    ],
)
def test_declared_levels_are_all_there_are(first):
    learner = ActiveLearner(_logistic(), random_state=0).fit(X_IRIS[FIRST], first)
    _refused(learner, X_IRIS[LATER[:2]], ["a", "d"], "levels that those of fit declare.* Got 'd'")
    learner.teach(X_IRIS[LATER], NAMES[LATER])
    assert learner.y_labeled_.dtype == first.dtype


# ---------------------------------------------------------------------- masks and spelt gaps


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.uint8, "<U3", object])
def test_a_masked_label_is_a_missing_one(dtype):
    mask = ~np.isin(np.arange(150), FIRST)
    values = np.where(mask, 99, Y_IRIS).astype(dtype)
    learner = ActiveLearner(_logistic(), random_state=0)
    learner.fit(X_IRIS, np.ma.masked_array(values, mask))
    assert learner.n_labeled_ == 30 and len(learner.classes_) == 3
    rows = learner.query(n_instances=4)
    assert not np.isin(rows, FIRST).any()
    answers = np.ma.masked_array(Y_IRIS[rows].astype(dtype), [True, False, False, True])
    learner.teach(None, answers, rows=rows)
    assert learner.n_labeled_ == 32
    unmasked = ActiveLearner(_logistic()).fit(X_IRIS, np.ma.masked_array(Y_IRIS))
    assert unmasked.n_labeled_ == 150


def test_masked_rows_are_gaps():
    hidden = np.ma.masked_array(X_IRIS, mask=np.zeros(X_IRIS.shape, bool))
    hidden[3, 1] = np.ma.masked
    with pytest.raises(ValueError, match="NaN"):
        ActiveLearner(_logistic()).fit(hidden, Y_IRIS)


@pytest.mark.parametrize("text", ["nan", "None", "<NA>"])
def test_a_spelt_gap_warns(text):
    with pytest.warns(UserWarning, match=f"The text '{text}' is a label like any other"):
        ActiveLearner(_logistic()).fit(X_IRIS, np.where(np.arange(150) % 2, NAMES, text))
    with pytest.warns(UserWarning, match="looks as if it stood for a missing one"):
        _learner(NAMES).teach(X_IRIS[LATER[:2]], np.array(["a", text]))


def test_gaps_in_lists_of_several_outputs():
    Y = [["u", "x"], ["v", None], ["v", "y"], ["u", float("nan")]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner = ActiveLearner(RandomForestClassifier(3), random_state=0).fit(X_IRIS[:4], Y)
    assert learner.n_labeled_ == 2


# ---------------------------------------------------------------------- columns keep their types


def _table():
    rng = np.random.RandomState(0)
    return pd.DataFrame(
        {
            "a": rng.randn(60),
            "n": rng.randint(0, 9, 60),
            "k": pd.Categorical(rng.choice(["u", "v"], 60)),
            "o": pd.Categorical(rng.choice(["low", "high"], 60), ["low", "high"], ordered=True),
            "t": rng.choice(["x", "y"], 60),
            "b": rng.rand(60) > 0.5,
        }
    )


def _table_learner(frame):
    columns = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
        (OneHotEncoder(handle_unknown="ignore"), ["t", "b"]),
    )
    model = make_pipeline(columns, Ridge())
    return ActiveLearner(model, CoreSet(), random_state=0).fit(frame[:30], np.arange(30.0))


@pytest.mark.parametrize(
    "convert",
    [
        lambda rows: pd.DataFrame([rows.iloc[0], rows.iloc[1]]),
        lambda rows: rows.astype(object),
        lambda rows: rows.astype(str).assign(b=rows["b"]),
        lambda rows: rows.assign(k=rows["k"].astype(str), o=rows["o"].astype(str)),
        lambda rows: rows.assign(a=rows["a"].astype("float32").astype(object)),
        lambda rows: rows.assign(n=rows["n"].astype(float), b=rows["b"].astype(int)),
        lambda rows: rows.assign(t=rows["t"].astype("category")),
        lambda rows: rows.convert_dtypes(),
    ],
)
def test_columns_are_cast_to_what_fit_saw(convert):
    frame = _table()
    learner, direct = _table_learner(frame), _table_learner(frame)
    learner.teach(convert(frame[30:32]), [1.0, 2.0])
    direct.teach(frame[30:32], [1.0, 2.0])
    assert learner.X_labeled_.dtypes.to_dict() == frame.dtypes.to_dict()
    assert_allclose(learner.predict(frame), direct.predict(frame), rtol=1e-5)


@pytest.mark.parametrize(
    ("column", "values", "match"),
    [
        ("a", ["high", 1.0], "Column 'a' of X held numbers in fit. Got 'high'"),
        ("n", ["1", "many"], "Column 'n' .*Got 'many'"),
        ("k", [1, 2], "Column 'k' of X held categories that are text in fit. Got 1"),
        ("o", ["low", "middle"], "Column 'o' .*ordered levels .*Got 'middle'"),
        ("t", [3, 4], "Column 't' of X held text in fit. Got 3"),
        ("b", [7, 0], "Column 'b' of X held booleans in fit. Got 7"),
        ("b", [True, None], "Fit with the dtype 'boolean'"),
        ("a", pd.to_datetime(["2026-01-01", "2026-01-02"]), "Column 'a'"),
    ],
)
def test_columns_that_cannot_be_cast_are_refused_by_name(column, values, match):
    frame = _table()
    learner = _table_learner(frame)
    _refused(learner, frame[30:32].assign(**{column: values}), [1.0, 2.0], match)
    assert learner.teach(frame[30:40], np.arange(10.0)).n_labeled_ == 40


def test_types_are_widened_where_that_keeps_values():
    frame = _table()
    learner = _table_learner(frame)
    more = frame[30:32].assign(n=[0.5, np.nan], k=pd.Categorical(["w", "u"]))
    learner.set_params(estimator=FillGaps(learner.estimator))
    learner.fit(frame[:30], np.arange(30.0)).teach(more, [1.0, 2.0])
    assert learner.X_labeled_["n"].tolist()[-2] == 0.5 and learner.X_labeled_["n"].dtype == float
    assert learner.X_labeled_["k"].dtype == pd.CategoricalDtype(["u", "v", "w"])


class FillGaps(BaseEstimator):
    """A regressor behind filled gaps."""

    _estimator_type = "regressor"

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y):
        self.fitted_ = self.estimator.fit(X.fillna({"n": 0}), y)
        return self

    def predict(self, X):
        return self.fitted_.predict(X.fillna({"n": 0}))


def test_a_column_that_was_empty_takes_the_type_that_comes():
    frame = pd.DataFrame({"a": np.arange(4.0), "alley": [np.nan] * 4})
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["alley"]), remainder="passthrough"
    )
    learner = ActiveLearner(make_pipeline(columns, Ridge())).fit(frame, np.arange(4.0))
    learner.teach(pd.DataFrame({"a": [7.0, 8.0], "alley": ["gravel", None]}), [1.0, 2.0])
    assert learner.X_labeled_["alley"].tolist()[-2] == "gravel"


@pytest.mark.parametrize("container", ["pandas", "array"])
def test_other_order_of_numbered_columns_is_refused(container):
    frame = pd.DataFrame(X_IRIS)
    learner = ActiveLearner(_logistic(), random_state=0).fit(frame.iloc[FIRST], Y_IRIS[FIRST])
    other = frame[[3, 2, 1, 0]] if container == "pandas" else frame.to_numpy()
    match = "columns of fit in their order" if container == "pandas" else "same kind of container"
    error = ValueError if container == "pandas" else TypeError
    _refused(learner, other[:2], [0, 0], match, error)
    if container == "pandas":
        for ask in (learner.predict, learner.query):
            with pytest.raises(ValueError, match="columns of fit in their order"):
                ask(other)


def test_polars_columns():
    frame = pl.DataFrame(
        {"a": np.arange(6.0), "k": ["u", "v"] * 3, "n": np.arange(6), "b": [True, False] * 3},
        schema_overrides={"k": pl.Categorical},
    )
    columns = make_column_transformer((OneHotEncoder(), ["k"]), remainder="passthrough")
    learner = ActiveLearner(make_pipeline(columns, Ridge())).fit(frame, np.arange(6.0))
    more = pl.DataFrame({"a": ["7.5", "1"], "k": ["u", "v"], "n": [3.0, 4.0], "b": [1, 0]})
    learner.teach(more, [1.0, 2.0])
    assert learner.X_labeled_.schema == frame.schema
    for name, values, got in [("a", ["x", "1"], "'x'"), ("k", [3, 4], "3"), ("b", [5, 0], "5")]:
        bad = more.with_columns(pl.Series(name, values))
        _refused(learner, bad, [1.0, 2.0], f"Column '{name}' of X held .*Got {got}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_arrays_keep_their_type(dtype):
    X = np.round(X_IRIS * 10).astype(dtype)
    learner = ActiveLearner(_logistic(max_iter=9999) if 0 else Ridge(), random_state=0)
    learner.fit(X[FIRST], Y_IRIS[FIRST])
    learner.teach(X[LATER].astype(np.float64), Y_IRIS[LATER])
    learner.teach(X[20:22].astype(str), [0, 0])
    assert learner.X_labeled_.dtype == dtype
    bad = X[20:22].astype(object)
    bad[1, 2] = "wide"
    _refused(learner, bad, [0, 0], "Column 2 of X held numbers in fit. Got 'wide'")
    with pytest.raises(ValueError, match="shape of those before|features"):
        learner.teach(X[20:22, :3], [0, 0])


def test_mixed_arrays_keep_the_kinds_of_their_columns():
    X = np.array([[1.5, "u"], [2.5, "v"], [3.5, "u"]], dtype=object)
    columns = make_column_transformer((OneHotEncoder(), [1]), remainder="passthrough")
    learner = ActiveLearner(make_pipeline(columns, Ridge())).fit(X, [1.0, 2.0, 3.0])
    learner.teach(np.array([[9.5, "v"]]), [4.0])
    assert learner.X_labeled_[-1].tolist() == [9.5, "v"]
    _refused(learner, np.array([["big", "v"]]), [4.0], "Column 0 of X held numbers")
    _refused(learner, np.array([[9.5, 3]], dtype=object), [4.0], "Column 1 of X held text")


# ---------------------------------------------------------------------- no memory is shared


def _containers():
    X = X_IRIS[FIRST]
    frame = pd.DataFrame(X, columns=list("abcd"))
    return [X.copy(), X.astype(np.float32), frame, sp.csr_matrix(X), torch.tensor(X)]


@pytest.mark.parametrize("X", _containers(), ids=lambda X: type(X).__name__)
@pytest.mark.parametrize("partly", [False, True])
def test_a_buffer_used_again_changes_nothing(X, partly):
    y = Y_IRIS[FIRST].astype(float)
    y[20:] = np.nan if partly else y[20:]
    learner = ActiveLearner(CopyingKNN(), random_state=0).fit(X, y)
    given = learner._X_given
    before = pickle.dumps((learner.X_labeled_, learner.y_labeled_, given))
    if isinstance(X, pd.DataFrame):
        X.iloc[:, :] = 7.0
    elif sp.issparse(X):
        X.data[:] = 7.0
    else:
        X[:] = 7.0
    y[:] = 5.0
    assert pickle.dumps((learner.X_labeled_, learner.y_labeled_, given)) == before


class CopyingKNN(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(X.shape[0], self.classes_[0])


def test_taught_buffers_change_nothing():
    learner, buffer, labels = _learner(), X_IRIS[LATER].copy(), Y_IRIS[LATER].copy()
    learner.teach(buffer, labels)
    buffer[:], labels[:] = 0, 9
    assert_array_equal(learner.X_labeled_[30:], X_IRIS[LATER])
    assert_array_equal(learner.y_labeled_[30:], Y_IRIS[LATER])


def test_memory_mapped_rows_stay_where_they_are(tmp_path):
    np.save(tmp_path / "X.npy", X_IRIS)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    y = Y_IRIS.astype(float)
    y[LATER] = np.nan
    learner = ActiveLearner(_logistic(), random_state=0).fit(X, y)
    assert np.shares_memory(learner._X_given, X)


# ---------------------------------------------------------------------- repeats and misplaced rows


def _as(kind, X):
    names = list("abcd")
    return {
        "array": lambda: X,
        "pandas": lambda: pd.DataFrame(X, columns=names),
        "polars": lambda: pl.DataFrame(X, schema=names),
        "sparse": lambda: sp.csr_matrix(X),
        "tensor": lambda: torch.tensor(X),
    }[kind]()


@pytest.mark.parametrize("kind", ["array", "pandas", "polars", "sparse", "tensor"])
def test_rows_that_are_labelled_already_are_noticed(kind):
    learner = ActiveLearner(CopyingKNN(), random_state=0)
    learner.fit(_as(kind, X_IRIS[FIRST]), Y_IRIS[FIRST])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.teach(_as(kind, X_IRIS[LATER]), Y_IRIS[LATER])
    with pytest.warns(UserWarning, match="12 of the 12 rows taught are labelled already") as log:
        learner.teach(_as(kind, X_IRIS[LATER]), 1 - Y_IRIS[LATER])
    assert len(log) == 1 and "forget(range(42, 54))" in str(log[0].message)
    assert log[0].filename == __file__
    learner.forget(range(42, 54))
    assert learner.n_labeled_ == 42


def test_texts_that_are_labelled_already_are_noticed():
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["good film", "bad film", "good book", "bad book"]
    learner = ActiveLearner(make_pipeline(TfidfVectorizer(), _logistic()), random_state=0)
    learner.fit(texts, [1, 0, 1, 0])
    with pytest.warns(UserWarning, match="1 of the 2 rows"):
        learner.teach(["bad book", "fine book"], [0, 1])


@pytest.mark.parametrize("kind", ["array", "pandas", "polars", "sparse", "tensor"])
def test_rows_that_are_not_those_at_their_positions_are_refused(kind):
    y = np.full(150, np.nan)
    y[FIRST] = Y_IRIS[FIRST]
    learner = ActiveLearner(CopyingKNN(), random_state=0).fit(_as(kind, X_IRIS), y)
    before = learner.n_labeled_
    with pytest.raises(
        ValueError, match=r"rows of the last fit at 'rows'. Got other rows at \[11\]"
    ):
        learner.teach(_as(kind, X_IRIS[[10, 12]]), [0, 0], rows=[10, 11])
    assert learner.n_labeled_ == before
    learner.teach(_as(kind, X_IRIS[[10, 11]]), [0, 0], rows=[10, 11])
    assert learner.n_labeled_ == before + 2


def test_simulations_over_equal_rows_are_quiet():
    from skal.model_selection import BudgetedActiveLearner

    X, y = np.repeat(X_IRIS[::10], 3, axis=0), np.repeat(Y_IRIS[::10], 3)
    model = BudgetedActiveLearner(ActiveLearner(_logistic()), n_instances=8, budget=40)
    assert model.fit(X, y).n_labels_[-1] == 40


# ---------------------------------------------------------------------- pandas' index


def test_the_same_index_in_another_order_warns():
    frame, y = pd.DataFrame(X_IRIS, columns=list("abcd")), pd.Series(Y_IRIS)
    shuffled = frame.sample(frac=1, random_state=0)
    match = "same index in another order"
    with pytest.warns(UserWarning, match=match):
        learner = ActiveLearner(_logistic(), random_state=0).fit(shuffled, y)
    with pytest.warns(UserWarning, match=match):
        learner.score(shuffled, y)
    learner = ActiveLearner(_logistic(), random_state=0).fit(frame.iloc[FIRST], y.iloc[FIRST])
    with pytest.warns(UserWarning, match=match):
        learner.teach(frame.iloc[LATER], y.iloc[LATER[::-1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ActiveLearner(_logistic()).fit(shuffled, y.loc[shuffled.index])
        # An index of other labels says nothing about the order.
        ActiveLearner(_logistic()).fit(shuffled[:75], pd.Series(Y_IRIS[75:], index=range(200, 275)))
