"""Rows keep their names, and their content is recognised."""

import io

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse

from skal.labeling._digest import PoolChangedError, row_digests
from skal.labeling._identity import RowNames, check_rows, differing

N = 12


@pytest.fixture
def table():
    rng = np.random.RandomState(0)
    frame = pd.DataFrame(
        {
            "id": [f"n{i}" for i in range(N)],
            "size": rng.rand(N),
            "rooms": rng.randint(1, 9, N),
            "lift": rng.rand(N) > 0.5,
            "town": rng.choice(["Ulm", "Köln", ""], N),
            "sold": pd.date_range("2020-01-01", periods=N, freq="D"),
            "huge": [2**60 + i for i in range(N)],
        }
    )
    frame.loc[3, ["size", "town"]] = [np.nan, None]
    return frame


def digests(X, columns=None):
    return row_digests(X, np.arange(len(X) if not sparse.issparse(X) else X.shape[0]), columns)


def by_csv(frame):
    return pd.read_csv(io.StringIO(frame.to_csv(index=False)), parse_dates=["sold"])


SAME_CONTENT = {
    "csv": by_csv,
    "pyarrow": lambda frame: by_csv(frame).convert_dtypes(dtype_backend="pyarrow"),
    "convert_dtypes": lambda frame: frame.convert_dtypes(),
    "category": lambda frame: frame.astype({"town": "category", "rooms": "category"}),
    "reordered": lambda frame: frame[frame.columns[::-1]],
    "index": lambda frame: frame.set_index(np.arange(N)[::-1]),
    "numbers as floats": lambda frame: frame.astype({"rooms": float, "lift": int}),
    "objects": lambda frame: frame.astype(object),
    "other unit of time": lambda frame: frame.assign(sold=frame["sold"].astype("datetime64[s]")),
    "polars": lambda frame: pl.from_pandas(frame),
}


@pytest.mark.parametrize("change", SAME_CONTENT)
def test_digest_survives_what_leaves_the_content_alone(table, change):
    assert digests(SAME_CONTENT[change](table)) == digests(table)


def test_added_columns_do_not_count_and_lost_ones_are_named(table):
    columns = list(table.columns)
    assert digests(table.assign(more=1), columns) == digests(table)
    with pytest.raises(PoolChangedError, match="rooms"):
        digests(table.drop(columns="rooms"), columns)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("size", 0.5),
        ("size", np.nan),
        ("town", "ulm"),
        ("lift", None),
        ("rooms", 100),
        ("huge", 2**60 + 6),
        ("sold", pd.Timestamp("2020-01-06 12:00")),
    ],
)
def test_digest_sees_every_edited_cell(table, column, value):
    edited = table.astype({"lift": object})
    edited.loc[5, column] = value
    changed = [i for i in range(N) if digests(edited)[i] != digests(table)[i]]
    assert changed == [5]


def test_cells_do_not_run_into_each_other():
    one = pd.DataFrame({"a": ["x", "xy"], "b": ["yz", "z"]})
    assert len(set(digests(one))) == 2
    assert digests(pd.DataFrame({"a": [1]})) != digests(pd.DataFrame({"a": ["1"]}))
    assert digests(pd.DataFrame({"a": [1]})) != digests(pd.DataFrame({"b": [1]}))


@pytest.mark.parametrize("kind", ["array", "float32", "images", "sparse", "tensor", "dict", "list"])
def test_other_containers(kind):
    rng = np.random.RandomState(0)
    A = rng.rand(N, 6).round(2)
    make = {
        "array": lambda A: A,
        "float32": lambda A: A.astype(np.float32),
        "images": lambda A: A.reshape(N, 2, 3),
        "sparse": lambda A: sparse.csr_array(A * (A > 0.5)),
        "tensor": torch.from_numpy,
        "dict": lambda A: {"left": A[:, :3], "right": A[:, 3:]},
        "list": lambda A: [str(row) for row in A],
    }[kind]
    before = row_digests(make(A), np.arange(N))
    assert len(set(before)) == N
    B = A.copy()
    B[4, 5] = 0.77
    after = row_digests(make(B), np.arange(N))
    assert [i for i in range(N) if before[i] != after[i]] == [4]
    assert row_digests(make(A), [7, 2]) == [before[7], before[2]]


def test_arrays_differ_by_shape_and_agree_on_zeros_and_nans():
    A = np.zeros((1, 4))
    assert row_digests(A, [0]) != row_digests(A.reshape(1, 2, 2), [0])
    assert row_digests(A, [0]) == row_digests(-A, [0])
    payload = np.array([[np.nan, 1.0]])
    assert row_digests(payload, [0]) == row_digests(-payload * [1, -1], [0])
    assert row_digests(np.array([[2**60 + 1, 0]]), [0]) != row_digests(np.array([[2**60, 0]]), [0])


def test_cells_without_content_are_refused():
    with pytest.raises(TypeError, match="Got object instead"):
        digests(pd.DataFrame({"a": [object()]}))


def test_keys_are_checked(table):
    names = RowNames(table, "id")
    assert names.name(2) == '"n2"' and names.position('"n2"') == 2 and names.position('"x"') == -1
    assert RowNames(table, np.array([1.0] + list(range(2, N + 1)))).name(0) == "1"
    with pytest.raises(ValueError, match="must be unique. Got 5 more than once"):
        RowNames(table, [5] * N)
    with pytest.raises(ValueError, match="no value in 1, first 3"):
        RowNames(table, table["town"])
    with pytest.raises(ValueError, match="one value for each of the 12 rows. Got 2"):
        RowNames(table, [1, 2])
    with pytest.raises(ValueError, match="column of X.*Got 'nr' instead"):
        RowNames(table, "nr")


def _known(table, rows):
    return dict(zip(map(str, rows), RowNames(table).digests(rows), strict=True))


def test_moved_rows_raise_and_are_found(table):
    known = _known(table, [0, 4, 9])
    moved = table.sample(frac=1, random_state=0)
    with pytest.raises(PoolChangedError, match=r"3 of 3 labelled rows .*first: 0, 4, 9.*on_change"):
        check_rows(RowNames(moved), known, "raise", np.random)
    names = RowNames(moved)
    check_rows(names, known, "find", np.random)
    assert [moved["id"].iloc[names.position(str(row))] for row in (0, 4, 9)] == ["n0", "n4", "n9"]
    # No two rows have the same name, so that rows asked later cannot take a known one.
    assert len({names.name(i) for i in range(N)}) == N
    assert all(names.position(names.name(i)) == i for i in range(N))


def test_rows_that_are_gone_keep_their_labels_unused(table):
    known = _known(table, [0, 4, 11])
    fewer = table.drop(index=[4]).reset_index(drop=True)
    names = RowNames(fewer)
    with pytest.warns(UserWarning, match="1 of 3 rows on record were not found"):
        check_rows(names, known, "find", np.random)
    assert names.position("4") == -1 and fewer["id"][names.position("11")] == "n11"


def test_equal_rows_stay_where_they_can():
    X = np.array([[1.0], [2.0], [1.0], [1.0]])
    known = {"0": row_digests(X, [0])[0], "3": row_digests(X, [3])[0]}
    names = RowNames(X[[1, 0, 2, 3]])
    assert names.follow(known) == []
    assert names.position("3") == 3 and names.position("0") in (1, 2)


def test_a_key_finds_rows_and_changes_are_a_warning(table):
    known = dict(zip(['"n1"', '"n2"', '"gone"'], digests(table)[1:4], strict=True))
    moved = table.iloc[::-1].reset_index(drop=True)
    moved.loc[moved["id"] == "n2", "rooms"] = 77
    names = RowNames(moved, "id")
    with pytest.warns(
        UserWarning, match="Of 3 labelled rows, 1 hold other data .* 1 are no longer"
    ):
        check_rows(names, known, "raise", np.random)


def test_appended_rows_are_no_error(table):
    known = _known(table, [0, 11])
    check_rows(RowNames(pd.concat([table, table])), known, "raise", np.random)


def test_many_asked_rows_are_sampled(table):
    X = np.arange(5000.0)[:, None]
    known = dict(zip(map(str, range(5000)), row_digests(X, np.arange(5000)), strict=True))
    X[2500:] = 0.0
    with pytest.raises(PoolChangedError, match="of 5000 labelled rows"):
        check_rows(RowNames(X), known, "raise", np.random.RandomState(0))
    assert len(differing(RowNames(X), known)[0]) == 2500


def test_real_table_of_81_columns(shared_data):
    path = shared_data / "house_prices.csv"
    if not path.exists():
        pytest.skip("needs house_prices.csv")
    houses = pd.read_csv(path, nrows=300)
    before = digests(houses)
    assert len(set(before)) == len(houses)
    assert digests(pd.read_csv(path, nrows=300, dtype_backend="pyarrow")) == before
    assert digests(houses.convert_dtypes().sample(frac=1, axis=1, random_state=0)) == before
