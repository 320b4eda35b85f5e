"""Rows of every container, against the plain array."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_array_equal
from skorch.helper import SliceDict

from skal.utils._tables import concat_rows, is_collection, is_frame, n_rows, take_rows

ARRAY = np.arange(12.0).reshape(6, 2)

CONTAINERS = {
    "array": (ARRAY, np.asarray),
    "images": (ARRAY.reshape(6, 2, 1), lambda X: X[..., 0]),
    "pandas": (pd.DataFrame(ARRAY, columns=["a", "b"], index=[5, 4, 3, 2, 1, 0]), np.asarray),
    "polars": (pl.DataFrame(ARRAY, schema=["a", "b"]), lambda X: X.to_numpy()),
    "csr": (sp.csr_array(ARRAY), lambda X: X.toarray()),
    "coo": (sp.coo_array(ARRAY), lambda X: X.toarray()),
    "tensor": (torch.tensor(ARRAY), lambda X: X.numpy()),
    "list": (ARRAY.tolist(), np.asarray),
    "dict": (
        SliceDict(a=ARRAY[:, :1], b=ARRAY[:, 1:]),
        lambda X: np.hstack([X["a"], X["b"]]),
    ),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_take_and_concat_agree_with_the_array(kind):
    X, back = CONTAINERS[kind]
    assert n_rows(X) == 6
    order = [4, 0, 0, 5]
    taken = take_rows(X, order)
    assert type(taken) is type(X)
    assert_array_equal(back(taken), ARRAY[order])
    assert_array_equal(back(take_rows(X, np.arange(6) > 3)), ARRAY[4:])
    joined = concat_rows(taken, X)
    assert type(joined) is type(X)
    assert_array_equal(back(joined), np.vstack([ARRAY[order], ARRAY]))


def test_a_pandas_index_is_ignored():
    series = pd.Series(list("abc"), index=[2, 1, 0])
    assert take_rows(series, [0, 1]).tolist() == ["a", "b"]


def test_pandas_categories_are_united():
    top = pd.DataFrame({"k": pd.Categorical(["a", "b"]), "x": [1, 2]})
    bottom = pd.DataFrame({"x": [3], "k": pd.Categorical(["c"])})
    joined = concat_rows(top, bottom)
    assert joined["k"].dtype == pd.CategoricalDtype(["a", "b", "c"])
    assert joined["x"].tolist() == [1, 2, 3]


def test_unlike_containers_are_refused():
    with pytest.raises(TypeError, match="pandas DataFrame. Got array instead"):
        concat_rows(pd.DataFrame(ARRAY), ARRAY)
    with pytest.raises(ValueError, match="must have the keys"):
        concat_rows(SliceDict(a=ARRAY), SliceDict(b=ARRAY))


def test_documents():
    assert is_collection(["a", "b"]) and is_collection(np.array(["a", "b"]))
    assert is_collection([{"a": 1}]) and is_collection(pd.Series(["a"]))
    assert not is_collection(ARRAY) and not is_collection([1, 2]) and not is_collection([])
    assert not is_collection(pd.DataFrame({"a": ["x"]})) and not is_collection(sp.csr_array(ARRAY))
    assert is_frame(pl.DataFrame({"a": [1]})) and not is_frame(pl.Series([1]))


def test_what_has_no_rows_is_refused():
    with pytest.raises(TypeError, match="Got int instead"):
        n_rows(3)
    with pytest.raises(TypeError, match="Got a scalar"):
        n_rows(np.float64(3))
    with pytest.raises(ValueError, match="same length"):
        n_rows({"a": [1, 2], "b": [1]})
