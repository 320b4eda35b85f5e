"""Rows as items: what each container and each way shows, and that nothing is markup."""

import base64
import io
import json

import numpy as np
import pandas as pd
import polars
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from scipy import sparse

from skal.labeling._show import MOST_CHARACTERS, Shower, as_item, as_text, cut

FRAME = pd.DataFrame(
    {
        "area": [54.5, 1234567.89],
        "rooms": np.array([2, 2**60 + 1]),
        "quarter": ["lake", None],
        "sold": pd.to_datetime(["2026-01-02", None]),
        "garden": [True, False],
    },
    index=[7, 9],
)


def pixels(item):
    assert item["kind"] == "image"
    head, _, data = item["src"].partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_cells_of_a_frame_keep_their_types():
    item = Shower(FRAME)(0)
    assert item == {
        "kind": "row",
        "cells": [
            ["area", "54.5"],
            ["rooms", "2"],
            ["quarter", "lake"],
            ["sold", "2026-01-02 00:00:00"],
            ["garden", "True"],
        ],
    }
    # One big int in a row with floats would lose digits if the row became a Series.
    assert [text for _, text in Shower(FRAME)(1)["cells"]] == [
        "1234567.89",
        str(2**60 + 1),
        None,
        None,
        "False",
    ]


def test_columns_are_chosen_in_order():
    assert Shower(FRAME, columns=["quarter", "area"])(0)["cells"] == [
        ["quarter", "lake"],
        ["area", "54.5"],
    ]
    polar = polars.DataFrame({"a": [1, 2], "b": ["x", None]})
    assert Shower(polar)(1)["cells"] == [["a", "2"], ["b", None]]
    assert Shower(polar, columns="b")(0)["cells"] == [["b", "x"]]


@pytest.mark.parametrize(
    "X, cells",
    [
        (np.array([[1.0, 0.1], [2.5, np.nan]]), [["0", "2.5"], ["1", None]]),
        (np.array([[1, 2], [3, 4]], dtype=np.float32) / 10, [["0", "0.3"], ["1", "0.4"]]),
        (sparse.csr_array([[0, 1.0, 0], [0, 0, 3.0]]), [["2", "3"]]),
        ([{"a": 1}, {"a": 2, "b": "<b>"}], [["a", "2"], ["b", "<b>"]]),
        ({"a": np.array([1, 2]), "b": np.array(["x", "y"])}, [["a", "2"], ["b", "y"]]),
        (torch.tensor([[1.0, 2.0], [3.0, 0.5]]), [["0", "3"], ["1", "0.5"]]),
    ],
    ids=["array", "float32", "sparse", "records", "mapping", "tensor"],
)
def test_cells_of_every_container(X, cells):
    assert Shower(X)(1) == {"kind": "row", "cells": cells}


def test_texts():
    hostile = "<img src=x onerror=alert(1)>"
    assert Shower([hostile, "b"])(0) == {"kind": "text", "text": hostile}
    assert Shower(["a", "b"], "text")(1) == {"kind": "text", "text": "b"}
    frame = pd.DataFrame({"title": ["T", None], "body": ["B", "only"], "n": [1, 2]})
    assert Shower(frame, "text", ["title", "body"])(0)["text"] == "title: T\n\nbody: B"
    assert Shower(frame, "text", ["title", "body"])(1)["text"] == "only"


@pytest.mark.parametrize(
    "X, shape",
    [
        (np.zeros((2, 64)), (240, 240)),
        (np.zeros((2, 20, 30)), (160, 240)),
        (np.zeros((2, 3, 20, 30)), (160, 240)),
        (np.zeros((2, 20, 30, 3)), (160, 240)),
        (np.zeros((2, 1, 20, 30)), (160, 240)),
        (np.zeros((2, 1700, 3400), dtype=np.uint8), (800, 1600)),
        (sparse.csr_array(np.eye(2, 64)), (240, 240)),
        (pd.DataFrame(np.zeros((2, 64))), (240, 240)),
    ],
    ids=["flat", "grey", "channels first", "channels last", "one channel", "large", "csr", "frame"],
)
def test_pictures_of_every_shape(X, shape):
    assert pixels(Shower(X, "image")(1)).shape[:2] == shape


def test_pictures_have_one_scale_for_the_pool():
    X = np.zeros((3, 16))
    X[0, 0], X[1, :8] = 16.0, 4.0
    shower = Shower(X, "image")
    assert pixels(shower(0))[0, 0].tolist() == [255] * 3
    assert pixels(shower(1))[0, 0].tolist() == [64] * 3
    assert pixels(shower(2)).max() == 0
    bytes_ = Shower(np.full((1, 4, 4), 128, dtype=np.uint8), "image")
    assert (pixels(bytes_(0)) == 128).all()
    broken = Shower(np.array([[[np.nan, 1.0], [0.0, np.inf]]]), "image")(0)
    assert pixels(broken)[0, 0, 0] == 0


def test_a_function_may_return_what_can_be_shown():
    alt = "row 3"
    assert as_item("<b>", alt) == {"kind": "text", "text": "<b>"}
    assert as_item({"a": None}, alt) == {"kind": "row", "cells": [["a", None]]}
    figure = Figure(figsize=(2, 1), dpi=50)
    canvas = figure.canvas
    figure.subplots().plot([0, 1])
    assert pixels(as_item(figure, alt)).shape[:2] == (50, 100)
    assert figure.canvas is canvas
    picture = as_item(Image.new("RGBA", (300, 10), "#ff000080"), alt)
    assert picture["alt"] == alt
    assert pixels(picture)[0, 0].tolist() == [255, 0, 0, 128]
    assert pixels(as_item(torch.ones(3, 300, 7, dtype=torch.uint8), alt)).shape == (300, 7, 3)
    seen = []
    Shower(FRAME, lambda row: seen.append(row) or "x")(1)
    assert pd.isna(seen[0]["quarter"]) and seen[0].name == 9


def test_what_a_function_may_not_return():
    class Html:
        def _repr_html_(self):
            return "<script>alert(1)</script>"

    with pytest.raises(TypeError, match="must return a str, a dict.*Got Html instead"):
        as_item(Html(), "")
    with pytest.raises(TypeError, match="Got NoneType instead"):
        Shower(FRAME, lambda row: None)(0)


@pytest.mark.parametrize(
    "X, options, message",
    [
        (FRAME, {"show": "html"}, "'show' must be 'row', 'text', 'image' or a function.*'html'"),
        (FRAME, {"columns": ["price"]}, "must name columns of the pool.*'price'"),
        (FRAME, {"columns": []}, "must name columns"),
        (np.zeros((2, 3)), {"columns": ["a"]}, "of a frame to show.*ndarray"),
    ],
)
def test_wrong_options(X, options, message):
    with pytest.raises(ValueError, match=message):
        Shower(X, **options)


@pytest.mark.parametrize(
    "X, message", [(np.zeros((2, 63)), r"Got \(63,\)"), (np.zeros((2, 5, 9, 7)), r"\(5, 9, 7\)")]
)
def test_what_is_no_picture(X, message):
    with pytest.raises(ValueError, match=message):
        Shower(X, "image")(0)


@pytest.mark.parametrize(
    "value, text",
    [
        (None, None),
        (np.nan, None),
        (pd.NaT, None),
        (pd.NA, None),
        (np.datetime64("NaT"), None),
        ("NaT", "NaT"),
        ("", ""),
        (True, "True"),
        (0.1 + 0.2, "0.3"),
        (1e300, "1e+300"),
        (np.float32(0.1), "0.1"),
        (2**70, str(2**70)),
        (np.int64(3), "3"),
        (-0.0, "-0"),
    ],
)
def test_cells_as_text(value, text):
    assert as_text(value) == text


def test_long_and_broken_texts_are_cut_and_mended():
    text = cut("x" * 5000)
    assert text.startswith("x" * MOST_CHARACTERS + " …") and "5,000" in text
    json.dumps(cut("half a pair \ud800")).encode()
    assert cut("\ud800") == "?"
