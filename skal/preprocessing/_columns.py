"""Columns of frames and arrays, one at a time, as NumPy arrays of few kinds.

A column is float64 with NaN for what is missing, datetime64[us] with NaT, or an object array with
None. Wall-clock times stay what they are: a time zone is dropped, not converted.
"""

import datetime
import decimal
import numbers
import re
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np

from skal.utils._tables import is_pandas, is_polars

# Tried in turn; the first that reads every value of a column is taken.
DATE_FORMATS = [
    "ISO8601",
    *(
        f"{day}{time}"
        for day in ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y/%m/%d")
        for time in ("", " %H:%M", " %H:%M:%S")
    ),
]
# Without this, plain numbers would be dates, too.
_LIKE_A_DATE = re.compile(r"\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ]\d{1,2}:\d{2}.*)?\s*$")

_ZONE = re.compile(r"(\d:\d{2}(?::\d{2}(?:\.\d+)?)?)\s*(?:Z|[+-]\d{2}:?\d{2})$")

_DATES = (datetime.date, np.datetime64)
_DURATIONS = (datetime.timedelta, np.timedelta64)
_NUMBERS = (numbers.Real, decimal.Decimal, np.bool_)


class Column(NamedTuple):
    """Values of one column, and its levels where the container declares them in order.

    `declared` is "category" where the container says that the values are levels, "ordinal" where
    it says their order as well, which is in `levels`; None leaves it to the values.
    """

    values: np.ndarray
    declared: str | None = None
    levels: tuple = ()


def columns_of(X):
    """Yield the :class:`Column` of each column of a frame or of a two-dimensional array."""
    if is_pandas(X):
        for position in range(X.shape[1]):
            yield _from_pandas(X.iloc[:, position])
    elif is_polars(X):
        for name in X.columns:
            yield _from_polars(X[name])
    else:
        for position in range(X.shape[1]):
            yield Column(_from_array(X[:, position]))


def _from_array(values):
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    if values.dtype.kind == "M":
        return values.astype("datetime64[us]")
    if values.dtype.kind == "m":
        return _seconds(values)
    if values.dtype.kind in "US":
        # An array of text cannot hold numbers beside it, except as text.
        try:
            return np.array([float(value or "nan") for value in values.tolist()])
        except ValueError:
            pass
    return _from_objects(values.astype(object))


def _from_pandas(series):
    import pandas as pd

    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        declared = "ordinal" if dtype.ordered else "category"
        values = _without_missing(series.to_numpy(dtype=object))
        return Column(values, declared, tuple(dtype.categories))
    if isinstance(dtype, pd.SparseDtype):
        series = series.sparse.to_dense()
    if isinstance(dtype, pd.PeriodDtype):
        series = series.dt.to_timestamp()
    if dtype.kind in "biuf":
        return Column(series.to_numpy(dtype=np.float64, na_value=np.nan))
    if dtype.kind == "M":
        return Column(series.dt.tz_localize(None).to_numpy("datetime64[us]"))
    if dtype.kind == "m":
        return Column(_seconds(series.to_numpy("timedelta64[us]")))
    return Column(_from_objects(series.to_numpy(dtype=object)))


def _from_polars(series):
    import polars as pl

    dtype = series.dtype
    if dtype.is_numeric() or dtype == pl.Boolean:
        return Column(series.cast(pl.Float64).to_numpy().astype(np.float64))
    if dtype == pl.Date:
        return Column(series.to_numpy().astype("datetime64[us]"))
    if dtype == pl.Datetime:
        return Column(series.dt.replace_time_zone(None).to_numpy().astype("datetime64[us]"))
    if dtype == pl.Duration:
        return Column(_seconds(series.to_numpy()))
    values = np.empty(len(series), dtype=object)
    values[:] = series.to_list()
    if dtype in (pl.Categorical, pl.Enum):
        return Column(_without_missing(values), "category")
    return Column(_from_objects(values))


def _from_objects(values):
    """Numbers, dates and durations out of an object array; anything else stays an object."""
    values = _without_missing(values)
    known = [value for value in values.tolist() if value is not None]
    if not known:
        return np.full(len(values), np.nan)
    if all(isinstance(value, _NUMBERS) for value in known):
        return np.array([np.nan if value is None else float(value) for value in values])
    if all(isinstance(value, _DATES) for value in known):
        return np.array([_wall_clock(value) for value in values], dtype="datetime64[us]")
    if all(isinstance(value, datetime.time) for value in known):
        day = datetime.date(1970, 1, 1)
        return np.array(
            [
                None if v is None else datetime.datetime.combine(day, v.replace(tzinfo=None))
                for v in values
            ],
            dtype="datetime64[us]",
        )
    if all(isinstance(value, _DURATIONS) for value in known):
        return _seconds(np.array(values.tolist(), dtype="timedelta64[us]"))
    return values


def _without_missing(values):
    """A copy with None for every kind of missing value, blank text included."""
    return _by_value(values, lambda value: None if _is_blank(value) else value)


def _is_blank(value):
    return isinstance(value, str) and not value.strip()


def _by_value(values, function):
    """Apply a function once to each different value of an object array; None where missing."""
    import pandas as pd

    try:
        codes, different = pd.factorize(values)
    except TypeError:
        example = next(value for value in values if not isinstance(value, Hashable))
        raise TypeError(
            "Every cell of a table must hold one value: argument must be a string, a date or a "
            f"real number. Got a {type(example).__name__} instead, {example!r:.60}. Spread it over "
            "columns."
        ) from None
    results = np.full(len(different) + 1, None, dtype=object)
    for position, value in enumerate(different):
        results[position] = function(value)
    return results[codes]


def _wall_clock(value):
    return value.replace(tzinfo=None) if isinstance(value, datetime.datetime) else value


def _seconds(durations):
    durations = np.asarray(durations).astype("timedelta64[us]")
    seconds = durations.astype(np.int64) / 1e6
    return np.where(np.isnat(durations), np.nan, seconds)


# ------------------------------------------------------------------ one kind from another


def is_missing(values):
    """Which values of a column are missing: bool (n,)."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind == "M":
        return np.isnat(values)
    return np.equal(values, None)


def as_numbers(values):
    """Values as float64; what is no number becomes NaN."""
    if values.dtype.kind == "f":
        return values
    if values.dtype.kind == "M":
        return np.full(len(values), np.nan)
    return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value):
    try:
        return np.nan if value is None else float(value)
    except (TypeError, ValueError):
        return np.nan


def as_text(values):
    """Values as stripped text, None where missing; 1.0 and 1 are the same text."""
    return _by_value(values.astype(object), _text)


def _text(value):
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def date_format(values):
    """The format that reads every text of a column as a date, or None."""
    known = values[~is_missing(values)]
    if not all(isinstance(value, str) and _LIKE_A_DATE.match(value) for value in known):
        return None
    for name in DATE_FORMATS:
        if not np.isnat(_parsed(known, name)).any():
            return name
    return None


def as_dates(values, name=None):
    """Values as datetime64[us], text read by the format `name`; what is no date becomes NaT."""
    if values.dtype.kind == "M":
        return values
    dates = np.full(len(values), "NaT", dtype="datetime64[us]")
    if values.dtype.kind == "f":
        return dates
    text = np.array([isinstance(value, str) for value in values], dtype=bool)
    if name is not None and text.any():
        dates[text] = _parsed(values[text], name)
    for position in np.flatnonzero(~text):
        if isinstance(values[position], _DATES):
            dates[position] = _wall_clock(values[position])
    return dates


def _parsed(texts, name):
    import pandas as pd

    texts = pd.Series([text.strip() for text in texts], dtype=object)
    # A zone at the end would be converted, and several of them are an error.
    texts = texts.str.replace(_ZONE, r"\1", regex=True)
    dates = pd.to_datetime(texts, format=name, errors="coerce")
    return dates.dt.tz_localize(None).to_numpy("datetime64[us]")
