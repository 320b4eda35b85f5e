"""Fingerprints of rows: 16 bytes that stay the same while the content does.

They survive what does not change the content: a CSV or Parquet file on the way, other dtypes,
reordered and added columns. A missing cell is missing, however it is written (NaN, None, ""); a
number is a float64, True being 1; a time is a number of nanoseconds.
"""

import datetime
import numbers
from hashlib import blake2b

import numpy as np
from scipy import sparse

from skal.labeling._codec import is_missing
from skal.utils._tables import (
    is_collection,
    is_frame,
    is_mapping,
    is_polars,
    is_tensor,
    take_rows,
)

DIGEST_SIZE = 16
_EXACT = 2**53  # ints beyond it have no float64 of their own
_MISSING = b"-"


class PoolChangedError(ValueError):
    """The rows are no longer what they were when they were labelled.

    The message says how many, which come first, and what to pass if that was meant. Nothing is
    lost.
    """


def row_digests(X, positions, columns=None):
    """Return a 16-byte digest of the content of each row at `positions`.

    Parameters
    ----------
    X : array-like of shape (n_rows, ...)
        Frame, array, sparse matrix, tensor, dict of arrays, list of texts or records.

    positions : array-like of ints
        Which rows.

    columns : list of str or None
        Of a frame, the columns that count, in an order that does not.

    Raises
    ------
    PoolChangedError
        If one of `columns` is missing.
    TypeError
        If a cell is of a kind whose content cannot be read.
    """
    positions = np.asarray(positions, dtype=np.intp)
    if len(positions) == 0:
        return []
    part = take_rows(X, positions)
    if is_frame(part) or is_mapping(part):
        cells = zip(*_columns(part, columns), strict=True)
    elif sparse.issparse(part):
        cells = _sparse_cells(part)
    else:
        if is_tensor(part):
            part = part.detach().cpu().numpy()
        cells = ((cell,) for cell in _cells(part if is_collection(part) else np.asarray(part)))
    return [blake2b(b"".join(row), digest_size=DIGEST_SIZE).digest() for row in cells]


def _columns(part, columns):
    """For each column, in the order of their names, its name and a bytes object for each row."""
    have = {str(name): name for name in (part if is_mapping(part) else part.columns)}
    wanted = sorted(have if columns is None else columns)
    gone = [name for name in wanted if name not in have]
    if gone:
        raise PoolChangedError(
            f"X lacks columns that it had when the session began: {gone[:5]}. Keep them, or begin "
            "a new store."
        )
    for name in wanted:
        label = _text(name)
        yield [label + cell for cell in _cells(part[have[name]])]


def _cells(values):
    """A bytes object for each entry of a column or rows of an array."""
    dtype = getattr(values, "dtype", None)
    if is_polars(values):
        return [_cell(value) for value in values.to_list()]
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
        return _numbers(np.asarray(values))
    if isinstance(dtype, np.dtype) and dtype.kind in "M" and np.ndim(values) == 1:
        return [_cell(value) for value in np.asarray(values)]
    return [_cell(value) for value in values]


def _numbers(values):
    """Rows of numbers: float64, with one NaN and one zero."""
    if values.dtype.kind in "iu" and values.size and _beyond_float(values):
        if values.ndim == 1:
            return [_cell(value) for value in values.tolist()]
        return [_array(np.asarray(row, dtype=object)) for row in values]
    floats = np.array(values, dtype="<f8", order="C") + 0.0
    floats[np.isnan(floats)] = np.nan
    if floats.ndim == 1:
        return [_MISSING if value != value else b"n" + value.tobytes() for value in floats]
    shape = _text(str(floats.shape[1:]))
    return [b"a" + shape + row.tobytes() for row in floats]


def _beyond_float(values):
    return int(values.max()) > _EXACT or int(values.min()) < -_EXACT


def _cell(value):
    """One entry: missing, number, text, time, or something made of those."""
    if value is None or (not isinstance(value, (list, np.ndarray)) and is_missing(value)):
        return _MISSING
    if isinstance(value, str):
        return _text(value) if value else _MISSING  # as a CSV file would have it
    if isinstance(value, (numbers.Number, np.bool_)) and not isinstance(value, complex):
        return _number(value)
    if isinstance(value, (np.datetime64, datetime.date)):
        return b"T" + _text(str(_nanoseconds(value)))
    if isinstance(value, (bytes, bytearray)):
        return b"b" + len(value).to_bytes(8, "little") + bytes(value)
    if isinstance(value, dict):
        parts = [_text(str(name)) + _cell(part) for name, part in sorted(value.items(), key=str)]
        return b"d" + len(parts).to_bytes(8, "little") + b"".join(parts)
    if isinstance(value, (list, tuple)):
        return b"l" + len(value).to_bytes(8, "little") + b"".join(_cell(part) for part in value)
    if hasattr(value, "__array__"):
        return _array(np.asarray(value))
    if type(value).__repr__ is object.__repr__ and type(value).__str__ is object.__str__:
        raise TypeError(
            f"Rows must be numbers, texts, times, arrays or collections of those, so that a row "
            f"can be told from another. Got {type(value).__qualname__} instead."
        )
    return _text(str(value))


def _number(value):
    if isinstance(value, numbers.Integral) and abs(int(value)) > _EXACT:
        return _text(str(int(value)))
    return b"n" + np.array(float(value) + 0.0, dtype="<f8").tobytes()


def _array(value):
    if value.dtype.kind in "biuf" and value.ndim:
        return _numbers(value[np.newaxis])[0]
    cells = [_cell(part) for part in value.ravel().tolist()]
    return b"a" + _text(str(value.shape)) + b"".join(cells)


def _text(value):
    raw = value.encode("utf-8", "surrogatepass")
    return b"t" + len(raw).to_bytes(8, "little") + raw


_NANOSECONDS = {
    "W": 604_800_000_000_000,
    "D": 86_400_000_000_000,
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1000,
    "ns": 1,
}


def _nanoseconds(value):
    """Nanoseconds since 1970, in UTC where there is a zone, as an int of any size."""
    if hasattr(value, "asm8"):
        value = value.asm8
    elif isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = np.datetime64(value.astimezone(datetime.UTC).replace(tzinfo=None))
    elif not isinstance(value, np.datetime64):
        value = np.datetime64(value)
    unit, step = np.datetime_data(value.dtype)
    if unit in ("Y", "M"):
        value, unit, step = value.astype("datetime64[D]"), "D", 1
    return int(value.view(np.int64)) * step * _NANOSECONDS[unit]


def _sparse_cells(part):
    part = sparse.csr_array(part, copy=True)
    part.sum_duplicates()
    part.eliminate_zeros()
    width = _text(str(part.shape[1]))
    for start, stop in zip(part.indptr[:-1], part.indptr[1:], strict=True):
        places = part.indices[start:stop].astype("<i8").tobytes()
        yield width, places, part.data[start:stop].astype("<f8").tobytes()
