"""Labels come back from JSON as they were."""

import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from skal.labeling._codec import decode, encode, is_missing

SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**30),
    st.floats(allow_nan=False),
    st.text(),
    # Lone surrogates, which SQLite's text does not take.
    st.text(st.characters(categories=["Cs", "Cc", "So"])),
    npst.from_dtype(np.dtype("float16"), allow_nan=False),
    npst.from_dtype(np.dtype("float32"), allow_nan=False),
    npst.from_dtype(np.dtype("float64"), allow_nan=False),
    npst.from_dtype(np.dtype("int8")),
    npst.from_dtype(np.dtype("uint64")),
    npst.from_dtype(np.dtype("bool")),
    npst.from_dtype(np.dtype("U5")),
    npst.datetime64_dtypes(max_period="D", min_period="ns").flatmap(
        lambda dtype: npst.from_dtype(dtype.newbyteorder("="), allow_nan=False)
    ),
)
LABELS = st.one_of(SCALARS, st.lists(SCALARS, max_size=4))


def _same(one, other):
    if isinstance(one, list):
        return type(other) is list and len(one) == len(other) and all(map(_same, one, other))
    same_type = type(one) is type(other) and getattr(one, "dtype", 0) == getattr(other, "dtype", 0)
    return bool(same_type and one == other)


@settings(max_examples=300, deadline=None)
@given(LABELS)
def test_round_trip_keeps_type_and_value(label):
    text = encode(label)
    assert text.isascii()
    assert _same(label, decode(text))
    assert encode(decode(text)) == text


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "UTC+02:00"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_keep_unit_and_zone(zone, unit):
    # An hour that happens twice in Berlin.
    stamp = pd.Timestamp("2026-10-25 00:30", tz="UTC").as_unit(unit).tz_convert(zone)
    back = decode(encode(stamp))
    assert back == stamp and back.unit == stamp.unit and str(back.tz) == str(stamp.tz)


@pytest.mark.parametrize(
    "value",
    [np.longdouble("0.1"), np.longdouble("inf"), 10**5000, -(10**5000)],
    ids=["longdouble", "inf", "huge", "minus huge"],
)
def test_round_trip_of_numbers_beyond_json(value):
    back = decode(encode(value))
    assert type(back) is type(value) and back == value


def test_plain_values_are_plain_json():
    assert [encode(v) for v in (True, 3, 0.1, "ä")] == ["true", "3", "0.1", '"\\u00e4"']


@pytest.mark.parametrize(
    "value",
    [
        None,
        np.nan,
        float("nan"),
        np.float32("nan"),
        np.datetime64("NaT"),
        pd.NaT,
        pd.NA,
        [1.0, None],
        [[np.nan]],
    ],
)
def test_missing_values_are_no_label(value):
    assert is_missing(value)
    with pytest.raises(TypeError, match="no label: skip the row"):
        encode(value)


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {"a": 1},
        b"x",
        1j,
        np.complex64(1),
        np.array([1]),
        {1},
        object(),
        print,
        datetime.date(2026, 1, 1),
    ],
)
def test_other_types_are_refused(value):
    assert not is_missing(value)
    with pytest.raises(TypeError, match="A label must be"):
        encode(value)


def test_a_subclass_is_refused_rather_than_changed():
    class Grade(int):
        pass

    with pytest.raises(TypeError, match="Grade"):
        encode(Grade(3))


def test_an_unknown_type_is_named():
    with pytest.raises(ValueError, match="'quaternion' is unknown"):
        decode('{"type":"quaternion","value":1}')
