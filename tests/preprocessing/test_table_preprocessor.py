"""TablePreprocessor: what becomes of each kind of column, and of what it has never seen."""

import datetime
import decimal
import pickle
import uuid

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, RobustScaler, StandardScaler

from skal.preprocessing import TablePreprocessor


def outputs(prepare, X):
    """The output as a dict: name -> list of rounded numbers."""
    Z = prepare.transform(X)
    names = prepare.get_feature_names_out()
    assert Z.shape == (len(X), len(names))
    assert np.isfinite(Z).all()
    return {name: column.round(3).tolist() for name, column in zip(names, Z.T, strict=True)}


def fitted(X, **parameters):
    return TablePreprocessor(**parameters).fit(X)


# ------------------------------------------------------------------ against scikit-learn


def test_numbers_and_categories_are_those_of_a_column_transformer():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "a": rng.normal(size=50),
            "b": rng.exponential(size=50),
            "c": rng.choice(["x", "y", "z"], 50),
        }
    )
    expected = ColumnTransformer(
        [("n", StandardScaler(), ["a", "b"]), ("c", OneHotEncoder(sparse_output=False), ["c"])]
    ).fit_transform(X)
    np.testing.assert_allclose(fitted(X).transform(X), expected.clip(-4, 4), atol=1e-12)


def test_robust_scaling_is_that_of_robust_scaler():
    X = np.random.default_rng(0).standard_cauchy((60, 3))
    expected = RobustScaler(unit_variance=True).fit_transform(X)
    got = fitted(X, scaling="robust", clip=None).transform(X)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_missing_numbers_become_the_median():
    X = np.array([[1.0], [2.0], [9.0], [np.nan]])
    known = X[:3]
    median = SimpleImputer(strategy="median").fit(X).statistics_
    expected = (median - known.mean()) / known.std()
    assert fitted(X).transform(X)[3] == pytest.approx(expected)


@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame])
def test_a_sparse_output_holds_the_same_numbers(container):
    X = container({"a": [1.0, 2.0, None, 5.0], "b": ["x", "y", None, "x"]})
    dense = fitted(X).transform(X)
    Z = fitted(X, sparse_output=True).transform(X)
    assert sparse.issparse(Z) and Z.format == "csr"
    np.testing.assert_array_equal(Z.toarray(), dense)


# ------------------------------------------------------------------ numbers


def test_numbers_are_cut_at_the_bound():
    prepare = fitted(np.arange(10.0)[:, None], clip=2.5)
    assert prepare.transform([[1e9], [-1e9]]).ravel().tolist() == [2.5, -2.5]
    assert fitted(np.arange(10.0)[:, None], clip=None).transform([[1e9]])[0, 0] > 1e8


@pytest.mark.parametrize("first", [3.0, np.nan, 0.1, 1e300])
def test_columns_without_variation_give_zero_whatever_comes_later(first):
    X = np.column_stack([np.full(7, first), np.arange(7.0)])
    prepare = fitted(X)
    Z = prepare.transform(np.column_stack([np.arange(7.0), np.full(7, np.nan)]))
    assert np.all(Z[:, 0] == 0)
    assert prepare.get_feature_names_out().tolist() == ["x0", "x1"]


@pytest.mark.parametrize("scaling", ["standard", "robust"])
def test_the_largest_floats_do_not_overflow(scaling):
    big = np.finfo(float).max
    X = np.array([[big], [-big], [big / 2], [0.0]])
    Z = fitted(X, scaling=scaling).transform(X)
    assert np.isfinite(Z).all() and np.ptp(Z) > 1


def test_one_row_is_enough():
    Z = fitted([[1.0, 2.0]]).transform([[5.0, 7.0]])
    assert Z.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("where", ["fit", "transform"])
def test_infinite_numbers_are_an_error_that_names_the_column(where):
    good = pd.DataFrame({"height": [1.0, 2.0]})
    bad = pd.DataFrame({"height": [1.0, np.inf]})
    with pytest.raises(ValueError, match="Column 'height' contains infinity"):
        fitted(bad) if where == "fit" else fitted(good).transform(bad)


def test_every_number_of_python_is_a_number():
    X = np.array([[decimal.Decimal("1.5"), True], [2, False], [np.float32(3), None]], dtype=object)
    prepare = fitted(X)
    assert prepare.kinds_ == ["number", "number"]
    assert outputs(prepare, X)["x1"] == [1.0, -1.0, 0.0]


def test_nullable_and_sparse_dtypes_of_pandas_are_numbers():
    X = pd.DataFrame(
        {
            "i": pd.array([1, None, 3], dtype="Int64"),
            "b": pd.array([True, None, False], dtype="boolean"),
            "s": pd.arrays.SparseArray([0.0, 0.0, 1.0]),
        }
    )
    assert fitted(X).kinds_ == ["number"] * 3
    assert outputs(fitted(X), X)["i"] == [-1.0, 0.0, 1.0]


def test_missing_values_can_be_told():
    X = pd.DataFrame({"a": [1.0, None, 3.0], "b": [1.0, 2.0, 3.0]})
    prepare = fitted(X, add_indicator=True)
    assert prepare.get_feature_names_out().tolist() == ["a", "a_missing", "b"]
    assert outputs(prepare, X)["a_missing"] == [0.0, 1.0, 0.0]


def test_durations_are_seconds():
    hours = [1, 2, 4]
    X = pd.DataFrame({"t": pd.to_timedelta(hours, "h")})
    objects = pd.DataFrame({"t": [datetime.timedelta(hours=h) for h in hours]}, dtype=object)
    lengths = pl.DataFrame({"t": [datetime.timedelta(hours=h) for h in hours]})
    expected = fitted(np.array(hours, dtype=float)[:, None]).transform(np.array(hours)[:, None])
    for table in (X, objects, lengths):
        np.testing.assert_allclose(fitted(table).transform(table), expected)


# ------------------------------------------------------------------ categories


def test_rare_and_unseen_levels_share_an_output_and_missing_ones_have_their_own():
    X = pd.DataFrame({"c": ["x", "x", "y", "y", "z", None]})
    prepare = fitted(X, min_frequency=2)
    assert prepare.get_feature_names_out().tolist() == ["c_x", "c_y", "c_other", "c_missing"]
    new = pd.DataFrame({"c": ["z", "never seen", " x ", None]})
    assert prepare.transform(new).tolist() == [
        [0, 0, 1, 0],
        [0, 0, 1, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 1],
    ]


def test_unseen_levels_are_nowhere_where_no_level_is_rare():
    prepare = fitted(pd.DataFrame({"c": ["x", "y"]}))
    assert prepare.transform(pd.DataFrame({"c": ["new", None]})).tolist() == [[0, 0], [0, 0]]


def test_declared_order_becomes_a_number():
    dtype = pd.CategoricalDtype(["poor", "fair", "good"], ordered=True)
    X = pd.DataFrame({"q": pd.Series(["good", "poor", "fair", None], dtype=dtype)})
    prepare = fitted(X)
    assert prepare.kinds_ == ["ordinal"]
    assert outputs(prepare, X)["q"] == [1.225, -1.225, 0.0, 0.0]


def test_numbers_declared_a_category_are_levels_in_every_container():
    prepare = fitted(pd.DataFrame({"c": pd.Categorical([1, 2, 1])}))
    assert prepare.get_feature_names_out().tolist() == ["c_1", "c_2"]
    assert prepare.transform(pd.DataFrame({"c": [2.0]})).tolist() == [[0, 1]]


def test_many_levels_of_a_declared_category_keep_the_most_frequent():
    values = [f"l{i}" for i in range(5) for _ in range(i + 1)]
    prepare = fitted(pd.DataFrame({"c": pd.Categorical(values)}), max_levels=2)
    assert prepare.get_feature_names_out().tolist() == ["c_l3", "c_l4", "c_other"]


def test_mixed_objects_are_levels():
    first, second = uuid.UUID(int=1), uuid.UUID(int=2)
    X = np.array([[first, 1], [second, "a"], [first, None]], dtype=object)
    prepare = fitted(X)
    assert prepare.kinds_ == ["category", "category"]
    assert prepare.get_feature_names_out()[2:].tolist() == ["x1_1", "x1_a", "x1_missing"]


def test_a_cell_with_several_values_is_an_error():
    with pytest.raises(TypeError, match=r"must hold one value.*Got a list instead, \[2, 3\]"):
        fitted(pd.DataFrame({"a": ["x", [2, 3]]}))


def test_no_two_outputs_have_the_same_name():
    X = pd.DataFrame({"a": ["b_c", "other", None, "missing"], "a_b": ["c", "c", "d", "d"]})
    names = fitted(X, min_frequency=1).get_feature_names_out().tolist()
    assert len(set(names)) == len(names)


# ------------------------------------------------------------------ dates


def test_parts_of_a_date_against_the_calendar():
    dates = pd.date_range("2024-01-01 06:00", periods=40, freq="31h")
    X = pd.DataFrame({"d": dates})
    prepare = fitted(X, clip=None)
    names = prepare.get_feature_names_out().tolist()
    waves = [f"d_{part}_{wave}" for part in ("year", "week", "day") for wave in ("sin", "cos")]
    assert names == ["d_time", *waves]
    hour = 2 * np.pi * (dates.hour.to_numpy() / 24)
    weekday = 2 * np.pi * dates.day_of_week.to_numpy() / 7
    seconds = (dates - dates[0]).total_seconds().to_numpy()
    expected = np.column_stack([seconds, np.sin(weekday), np.cos(hour)])
    expected = (expected - expected.mean(0)) / expected.std(0)
    got = prepare.transform(X)[:, [0, 3, 6]]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_periods_that_do_not_vary_are_left_out():
    days = pd.DataFrame({"d": pd.to_datetime(["2024-01-01", "2024-01-08", "2024-01-15"])})
    assert fitted(days).get_feature_names_out().tolist() == ["d_time", "d_year_sin", "d_year_cos"]
    clock = pd.DataFrame({"t": [datetime.time(3), datetime.time(15), None]})
    names = fitted(clock).get_feature_names_out().tolist()
    assert names == ["t_time", "t_day_sin", "t_day_cos"]


@pytest.mark.parametrize(
    "texts",
    [
        ["2024-01-02", "2024-03-04"],
        ["2024-01-02T10:00:00+02:00", "2024-03-04 10:00Z"],
        ["01/02/2024", "03/04/2024"],
        ["02.01.2024", "04.03.2024"],
    ],
)
def test_dates_as_text_are_those_dates(texts):
    noon = 10 * 3600 if "10:00" in texts[0] else 0
    expected = np.array(["2024-01-02", "2024-03-04"], dtype="datetime64[s]") + noon
    for X in (pd.DataFrame({"d": texts}), pl.DataFrame({"d": texts}), [[text] for text in texts]):
        assert fitted(X).kinds_ == ["date"]
    reference = fitted(pd.DataFrame({"d": expected}))
    prepare = fitted(pd.DataFrame({"d": texts}))
    new = pd.DataFrame({"d": texts[::-1]})
    np.testing.assert_allclose(
        prepare.transform(new), reference.transform(pd.DataFrame({"d": expected[::-1]}))
    )


def test_the_day_comes_first_where_the_column_says_so():
    prepare = fitted(pd.DataFrame({"d": ["01/02/2024", "25/12/2024"]}))
    same = fitted(pd.DataFrame({"d": pd.to_datetime(["2024-02-01", "2024-12-25"])}))
    X = pd.DataFrame({"d": ["03/05/2024"]})
    Y = pd.DataFrame({"d": pd.to_datetime(["2024-05-03"])})
    np.testing.assert_allclose(prepare.transform(X), same.transform(Y))


@pytest.mark.parametrize(
    "texts", [["1-2", "3-4"], ["10115", "80331"], ["2024-13-45", "2024-99-01"]]
)
def test_texts_that_are_no_dates_are_levels(texts):
    assert fitted(pd.DataFrame({"d": texts})).kinds_ == ["category"]


# ------------------------------------------------------------------ texts


def test_similar_texts_are_close():
    rng = np.random.default_rng(0)
    kinds = ["garden apartment", "family house"]
    texts = [f"{kinds[i % 2]} {rng.integers(1000)}" for i in range(200)]
    X = pd.DataFrame({"t": texts})
    prepare = fitted(X)
    assert prepare.kinds_ == ["text"]
    Z = prepare.transform(X)
    assert Z.shape == (200, 10)
    assert Z.var(axis=0).sum() == pytest.approx(1.0)
    first, second = Z[::2].mean(0), Z[1::2].mean(0)
    new = prepare.transform(pd.DataFrame({"t": ["a garden apartment", None]}))
    assert np.linalg.norm(new[0] - first) < np.linalg.norm(new[0] - second)
    assert np.all(new[1] == 0)


# ------------------------------------------------------------------ containers and strangers


def test_containers_agree():
    values = {
        "a": [1.5, None, 3.0, 4.0],
        "b": ["x", "y", None, "x"],
        "c": [True, False, True, None],
    }
    frame = pd.DataFrame(values)
    reference = fitted(frame).transform(frame)
    rows = [list(row) for row in zip(*values.values(), strict=True)]
    array = np.array(rows, dtype=object)
    for X in (pl.DataFrame(values), rows, array, frame.set_axis([7, 7, 1, 0])):
        np.testing.assert_allclose(fitted(X).transform(X), reference)


def test_columns_of_an_array_of_text_that_read_as_numbers_are_numbers():
    X = np.array([["1", "a"], ["2.5", "b"], ["", "a"]])
    assert fitted(X).kinds_ == ["number", "category"]


def test_text_in_a_frame_is_text_even_where_it_reads_as_a_number():
    assert fitted(pd.DataFrame({"zip": ["01067", "80331"]})).kinds_ == ["category"]


def test_values_of_another_kind_count_as_missing_with_a_warning():
    prepare = fitted(pd.DataFrame({"a": [1.0, 2.0, 4.0], "d": ["2024-01-01", "2024-01-02", None]}))
    new = pd.DataFrame({"a": ["3", "unknown"], "d": ["2024-01-03", "soon"]}, dtype=object)
    with pytest.warns(UserWarning, match=r"'a' \(number\): unknown; 'd' \(date\): soon"):
        Z = prepare.transform(new)
    blank = pd.DataFrame({"a": [3.0, None], "d": ["2024-01-03", None]})
    np.testing.assert_allclose(Z, prepare.transform(blank))


@pytest.mark.parametrize("parameters", [{}, {"sparse_output": True}, {"scaling": "robust"}])
def test_a_pickled_copy_and_a_pipeline_agree(parameters):
    X = pd.DataFrame({"a": [1.0, 2.0, 3.0, 5.0], "b": ["x", "y", "x", "z"]})
    y = [1.0, 2.0, 3.0, 4.0]
    prepare = fitted(X, **parameters)
    twin = pickle.loads(pickle.dumps(prepare))
    difference = prepare.transform(X) - twin.transform(X)
    assert abs(difference).max() == 0
    model = make_pipeline(clone(prepare), Ridge()).fit(X, y)
    np.testing.assert_allclose(
        model.predict(X), Ridge().fit(prepare.transform(X), y).predict(prepare.transform(X))
    )


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output_names_the_columns(container):
    X = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    Z = TablePreprocessor().set_output(transform=container).fit_transform(X)
    assert list(Z.columns) == ["a", "b_x", "b_y"]


def test_float32_output():
    Z = fitted([[1.0], [2.0]], dtype="float32").transform([[1.0]])
    assert Z.dtype == np.float32


def test_another_dtype_is_an_error():
    with pytest.raises(ValueError, match="'dtype' parameter of TablePreprocessor must be"):
        fitted([[1.0], [2.0]], dtype="int8")


@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame])
def test_a_table_without_columns_is_an_error(container):
    frame = pd.DataFrame(index=[0, 1]) if container is pd.DataFrame else pl.DataFrame()
    with pytest.raises(ValueError, match="0 (feature|sample)"):
        fitted(frame)
