"""Partly labelled targets and bad numbers."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.utils.multiclass import type_of_target

from skal.utils import is_labeled
from skal.utils._labels import append_target, check_labels
from skal.utils.validation import (
    check_n_instances,
    labeled_target,
    missing_target,
    target_values,
)

PARTLY = {
    "float": np.array([1.0, np.nan, 0.0]),
    "object_int": np.array([1, None, 0], dtype=object),
    "object_str": np.array(["b", None, "a"], dtype=object),
    "object_nan": np.array(["b", np.nan, "a"], dtype=object),
    "list": [1, None, 0],
    "list_nan": [1.0, float("nan"), 0.0],
    "series": pd.Series([1.0, None, 0.0]),
    "series_str": pd.Series(["b", None, "a"], index=[9, 8, 7]),
    "series_int": pd.Series([1, None, 0], dtype="Int64"),
    "series_bool": pd.Series([True, None, False], dtype="boolean"),
    "series_category": pd.Series(["b", None, "a"], dtype="category"),
    "polars": pl.Series([1, None, 0]),
    "polars_str": pl.Series(["b", None, "a"]),
    "two_outputs": np.array([[1.0, 2.0], [np.nan, 2.0], [0.0, 1.0]]),
    "frame": pd.DataFrame({"u": [1.0, 2.0, 0.0], "v": [0.0, None, 1.0]}),
    "tensor": torch.tensor([1.0, float("nan"), 0.0]),
}


@pytest.mark.parametrize("kind", PARTLY)
def test_missing_labels_are_found_and_the_rest_is_a_target(kind):
    mask = is_labeled(PARTLY[kind])
    assert mask.dtype == bool
    assert_array_equal(mask, [True, False, True])
    labels = labeled_target(PARTLY[kind], mask)
    assert type_of_target(np.asarray(labels)) != "unknown"
    assert len(labels) == 2


@pytest.mark.parametrize("y", [[-1, 0, 1], ["", "a", "b"], [True, False, True], [-np.inf, 0.0, 1]])
def test_everything_else_is_a_label(y):
    assert is_labeled(np.array(y)).all()


def test_y_is_required():
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        is_labeled(None)
    with pytest.raises(ValueError, match="Got the scalar 3"):
        is_labeled(3)


def test_append_target_keeps_the_container():
    series = pd.Series([1, 2], name="price", index=[7, 8])
    joined = append_target(series, [3])
    assert joined.name == "price" and joined.tolist() == [1, 2, 3]
    assert append_target(pl.Series("k", ["a"]), ["b"]).to_list() == ["a", "b"]
    assert append_target(np.array(["a"]), np.array(["long"])).tolist() == ["a", "long"]
    category = append_target(pd.Series(["a"], dtype="category"), pd.Series(["b"], dtype="category"))
    assert category.tolist() == ["a", "b"] and category.dtype == "category"


def test_labels_of_another_kind_or_shape_are_refused():
    with pytest.raises(ValueError, match="of the kind of those before"):
        check_labels(np.array(["a"]), np.array([1, 2]), task="classifier")
    with pytest.raises(ValueError, match="must have the shape"):
        check_labels(np.array([[1, 2]]), np.array([1, 2]), task=None)


def test_missing_target_marks_what_the_dtype_can():
    assert_array_equal(is_labeled(missing_target(np.array([1, 2]), 2)), [True, True, False, False])
    strings = missing_target(target_values(["a", "b"]), 1)
    assert_array_equal(is_labeled(strings), [True, True, False])


def test_n_instances():
    assert check_n_instances(np.int64(3), 3) == 3
    for bad in (0, 4, -1):
        with pytest.raises(ValueError, match=rf"in \[1, 3\].*Got {bad} instead"):
            check_n_instances(bad, 3)
    for bad in (1.0, "1", True, None):
        with pytest.raises(TypeError, match="n_instances must be an int"):
            check_n_instances(bad, 3)
    with pytest.raises(ValueError, match="nothing to query"):
        check_n_instances(1, 0)
