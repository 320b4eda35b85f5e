"""New rows in the types of the rows before them, column by column, or an error that names one.

A table whose column changes its type is another table: selectors by dtype drop the column without a
word, an encoder sees numbers as text. Types are widened where no value could be kept otherwise,
within numbers and within unordered categories.
"""

import numbers

import numpy as np
from scipy import sparse

from skal.utils._tables import (
    is_collection,
    is_frame,
    is_mapping,
    is_pandas,
    is_polars,
    is_tensor,
    object_array,
)

_FLOATS, _INTEGERS = "f", "iu"


def cast_rows(seen, new):
    """Return `seen` and `new` such that one can follow the other without a change of types.

    Parameters
    ----------
    seen : array, frame, ...
        The rows so far. They come back as they are, but for types that had to be widened.

    new : array, frame, ...
        Rows to append; a kind of container of its own is left to `concat_rows` to refuse.

    Returns
    -------
    seen, new : the containers given
        The rows.

    Raises
    ------
    ValueError
        If a column of `new` holds what the column of `seen` cannot.
    """
    if is_collection(seen) or is_collection(new):
        return _cast_collection(seen, new)
    if is_mapping(seen) and is_mapping(new) and seen.keys() == new.keys():
        pairs = {key: cast_rows(value, new[key]) for key, value in seen.items()}
        tops, bottoms = ({key: pair[i] for key, pair in pairs.items()} for i in (0, 1))
        return type(seen)(**tops), type(new)(**bottoms)
    if is_frame(seen) and is_frame(new):
        if is_pandas(seen) and is_pandas(new):
            return _cast_pandas_frame(seen, new)
        if is_polars(seen) and is_polars(new):
            return _cast_polars_frame(seen, new)
    if is_tensor(seen) and is_tensor(new):
        return seen, new.to(seen.dtype) if seen.is_floating_point() else new
    if sparse.issparse(seen) and sparse.issparse(new):
        return seen, new.astype(seen.dtype) if seen.dtype.kind == _FLOATS else new
    if isinstance(seen, np.ndarray) and isinstance(new, np.ndarray):
        return _cast_array(seen, new)
    return seen, new


def refuse(column, held, value, remedy=""):
    """Raise the ValueError that names a column, what it held and what came."""
    kind = _kind_of(value)
    raise ValueError(
        f"Column {column!r} of X held {held} in fit. Got {_short(value)} ({kind}) instead. "
        f"{remedy or 'Correct the column'}; nothing was kept."
    )


def _short(value):
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _kind_of(value):
    if isinstance(value, (bool, np.bool_)):
        return "a boolean"
    if isinstance(value, numbers.Number):
        return "a number"
    if isinstance(value, str):
        return "text"
    return type(value).__name__


def _is_missing(value):
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, numbers.Real) and value != value


# ---------------------------------------------------------------------- collections of objects


def _cast_collection(seen, new):
    """Objects as rows: the container of the rows so far, whatever the new ones came in."""
    if not all(is_collection(X) or isinstance(X, (np.ndarray, list, tuple)) for X in (seen, new)):
        return seen, new
    if is_pandas(seen):
        import pandas as pd

        new = new if is_pandas(new) else pd.Series(_objects(new), dtype=object)
        return cast_series(seen, new.rename(seen.name), seen.name or "X")
    if is_polars(seen):
        import polars as pl

        new = new if is_polars(new) else pl.Series(seen.name, _objects(new), strict=False)
        return cast_polars(seen, new, seen.name)
    if isinstance(seen, np.ndarray) and seen.ndim == 1:
        new = object_array(_objects(new))
        if seen.dtype.kind == "U" and all(isinstance(row, str) for row in new):
            return seen, new.astype(str)
        return seen.astype(object), new
    # A table of numbers that is followed by rows of other lengths is a list of rows.
    return _objects(seen), _objects(new)


def _objects(X):
    if isinstance(X, np.ndarray):
        return X.tolist() if X.dtype.kind in "USO" else list(X)
    return X.to_list() if is_polars(X) else list(X)


# ---------------------------------------------------------------------- arrays


def _cast_array(seen, new):
    if seen.shape[1:] != new.shape[1:]:
        raise ValueError(
            f"New rows must have the shape of those before them, {seen.shape[1:]} each. "
            f"Got {new.shape[1:]} instead."
        )
    if seen.dtype.kind == "O":
        return seen, _cast_objects(seen, new)
    if seen.dtype.kind in "US" and new.dtype.kind in "biufcO":
        return _cast_text(seen, new)
    if seen.dtype.kind in "biuf" and new.dtype.kind in "USO":
        new = _as_numbers(new, "numbers")
    if seen.dtype.kind in "biuf" and new.dtype.kind in "biuf":
        return seen, _narrowed(new, seen.dtype)
    return seen, new


def _narrowed(new, dtype):
    """`new` in `dtype` where that keeps its values (rounded, for floats), or else as it is."""
    if new.dtype == dtype:
        return new
    with np.errstate(invalid="ignore", over="ignore"):
        cast = new.astype(dtype)
    if dtype.kind == _FLOATS:
        kept = not (np.isinf(cast) & np.isfinite(new)).any()
    else:
        kept = bool((cast == new).all())
    return cast if kept else new


def _as_numbers(new, held):
    """`new` as float64, or the error that names the first column with something else."""
    try:
        return new.astype(np.float64)
    except (TypeError, ValueError):
        flat = new.reshape(len(new), -1)
        for position in np.ndindex(*flat.shape):
            if _number(flat[position]) is None:
                refuse(position[1], held, flat[position])
        raise


def _number(value):
    """`value` as a float, NaN where it is missing, None where it is no number."""
    if _is_missing(value):
        return np.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _cast_text(seen, new):
    """Rows of text that are followed by objects: texts and gaps, nothing else."""
    flat = new.reshape(len(new), -1)
    for position in np.ndindex(*flat.shape):
        value = flat[position]
        if not isinstance(value, (str, bytes)) and not _is_missing(value):
            refuse(position[1], "text", value)
    return seen.astype(object), new.astype(object)


def _cast_objects(seen, new):
    """Rows of mixed columns: each keeps to the kinds of value it held."""
    if seen.ndim != 2:
        return new.astype(object)
    new = new.astype(object)
    for column in range(seen.shape[1]):
        held = {_kind_of(value) for value in seen[:, column] if not _is_missing(value)}
        if not held:
            continue
        numeric = held <= {"a number", "a boolean"}
        for row, value in enumerate(new[:, column]):
            kind = _kind_of(value)
            # What is none of the three is for the estimator to say.
            if _is_missing(value) or kind in held or kind not in _PLURALS:
                continue
            if numeric and _number(value) is not None:
                new[row, column] = _number(value)
            else:
                refuse(column, _plural(held), value)
    return new


_PLURALS = {"a number": "numbers", "a boolean": "booleans", "text": "text"}


def _plural(kinds):
    return " and ".join(sorted(_PLURALS.get(kind, kind) for kind in kinds))


# ---------------------------------------------------------------------- pandas


def _cast_pandas_frame(seen, new):
    if list(seen.columns) != list(new.columns):
        missing = [name for name in seen.columns if name not in set(new.columns)]
        raise ValueError(
            f"New rows must have the columns of those before them, in this order: "
            f"{list(seen.columns)[:10]}. "
            + (f"{missing[:5]} are missing." if missing else f"Got {list(new.columns)[:10]}.")
        )
    changed = {}
    for position, name in enumerate(seen.columns):
        top, bottom = seen.iloc[:, position], new.iloc[:, position]
        pair = cast_series(top, bottom, name)
        if pair[0] is not top or pair[1] is not bottom:
            changed[position] = pair
    if not changed:
        return seen, new
    return tuple(
        _with_columns(frame, {position: pair[i] for position, pair in changed.items()})
        for i, frame in enumerate((seen, new))
    )


def _with_columns(frame, columns):
    """A frame with other columns at some positions: names may occur twice."""
    import pandas as pd

    parts = [columns.get(i, frame.iloc[:, i]) for i in range(frame.shape[1])]
    joined = pd.concat(parts, axis=1)
    joined.columns = frame.columns
    return joined


def cast_series(seen, new, name):
    """Return two pandas Series of one dtype, as far as values can be kept."""
    import pandas as pd

    if seen.dtype == new.dtype and seen.dtype != object:
        return seen, new
    if isinstance(seen.dtype, pd.CategoricalDtype):
        return _cast_categories(seen, new, name)
    if not seen.notna().any() and seen.dtype.kind in "fO":
        return _take_over(seen, new)
    if seen.dtype.kind == "b":
        return seen, _cast_booleans(seen, new, name)
    if pd.api.types.is_numeric_dtype(seen.dtype):
        return seen, _cast_numbers(seen, new, name)
    if pd.api.types.is_object_dtype(seen.dtype) or pd.api.types.is_string_dtype(seen.dtype):
        return seen, _cast_objects_of_series(seen, new, name)
    try:
        if seen.dtype.kind == "M" and new.dtype.kind != "M":
            new = pd.to_datetime(new.astype(object))
        return seen, new.astype(seen.dtype)
    except (TypeError, ValueError):
        refuse(name, f"values of type {seen.dtype}", _first(new))


def _first(series):
    known = series.astype(object)[series.notna().to_numpy()]
    return known.iloc[0] if len(known) else None


def _take_over(seen, new):
    """A column of which nothing was known takes the type that comes."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(new.dtype) and seen.dtype.kind == "f":
        return seen, new.astype(seen.dtype) if new.notna().all() else new
    try:
        return seen.astype(new.dtype), new
    except (TypeError, ValueError):
        return seen.astype(object), new.astype(object)


def _cast_categories(seen, new, name):
    import pandas as pd

    known = new.astype(object)[new.notna().to_numpy()]
    levels = seen.cat.categories
    declared = isinstance(new.dtype, pd.CategoricalDtype)
    others = new.cat.categories if declared and not seen.cat.ordered else pd.unique(known)
    unseen = [level for level in others if level not in levels]
    if unseen and seen.cat.ordered:
        refuse(name, f"the ordered levels {list(levels)[:10]}", unseen[0])
    kinds = {_kind_of(level) for level in levels}
    for value in known.unique():
        if kinds and _kind_of(value) not in kinds:
            refuse(name, f"categories that are {_plural(kinds)}", value)
    if unseen:
        dtype = pd.CategoricalDtype([*levels, *unseen])
        seen = seen.astype(dtype)
    return seen, new.astype(object).astype(seen.dtype)


def _cast_booleans(seen, new, name):
    values = new.astype(object)
    for value in values:
        truth = isinstance(value, (bool, np.bool_, numbers.Number)) and value in (0, 1)
        if not truth and not (_is_missing(value) and not isinstance(seen.dtype, np.dtype)):
            remedy = "Fit with the dtype 'boolean', which has missing values"
            refuse(name, "booleans", value, remedy if _is_missing(value) else "")
    return values.map(lambda value: value if _is_missing(value) else bool(value)).astype(seen.dtype)


def _cast_numbers(seen, new, name):
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(new.dtype):
        values = new.astype(object)
        for value in values:
            if _number(value) is None:
                refuse(name, "numbers", value)
        numeric = np.array([_number(value) for value in values], dtype=np.float64)
        new = pd.Series(numeric, index=new.index, name=new.name)
    if isinstance(seen.dtype, np.dtype) and isinstance(new.dtype, np.dtype):
        narrowed = _narrowed(new.to_numpy(), seen.dtype)
        return pd.Series(narrowed, index=new.index, name=new.name)
    try:
        return new.astype(seen.dtype)
    except (TypeError, ValueError):
        return new


def _cast_objects_of_series(seen, new, name):
    import pandas as pd

    held = pd.api.types.infer_dtype(seen, skipna=True)
    came = pd.api.types.infer_dtype(new.astype(object), skipna=True)
    groups = [_GROUPS.get(kind) for kind in (held, came)]
    if groups[0] is not None and came != "empty" and groups[0] != groups[1]:
        refuse(name, groups[0], _stranger(new, groups[0]))
    return new.astype(object).astype(seen.dtype)


_GROUPS = {
    "string": "text",
    "integer": "numbers",
    "floating": "numbers",
    "mixed-integer-float": "numbers",
    "decimal": "numbers",
    "boolean": "booleans",
}


def _stranger(series, group):
    """The first value that is not of the group."""
    kinds = {"text": "text", "numbers": "a number", "booleans": "a boolean"}
    for value in series.astype(object):
        if not _is_missing(value) and _kind_of(value) != kinds[group]:
            return value
    return _first(series)


# ---------------------------------------------------------------------- polars


def _cast_polars_frame(seen, new):
    if seen.columns != new.columns:
        raise ValueError(
            f"New rows must have the columns of those before them, {seen.columns[:10]}. "
            f"Got {new.columns[:10]} instead."
        )
    pairs = [cast_polars(seen[name], new[name], name) for name in seen.columns]
    return tuple(
        frame.with_columns([pair[i] for pair in pairs]) for i, frame in enumerate((seen, new))
    )


def cast_polars(seen, new, name):
    """Return two polars Series of one dtype, or two dtypes of numbers with a common one."""
    import polars as pl

    if seen.dtype == new.dtype:
        return seen, new
    if new.null_count() == len(new) and new.dtype == pl.Null:
        return seen, new.cast(seen.dtype)
    if seen.null_count() == len(seen) and seen.dtype == pl.Null:
        return seen.cast(new.dtype), new
    if seen.dtype == pl.Boolean:
        if new.dtype.is_numeric() and new.drop_nulls().is_in([0, 1]).all():
            return seen, new.cast(pl.Boolean)
        refuse(name, "booleans", _first_polars(new))
    if seen.dtype.is_numeric():
        return seen, _cast_polars_numbers(seen, new, name)
    if _is_text(seen.dtype) and not _is_text(new.dtype):
        refuse(name, "text", _first_polars(new))
    try:
        return seen, new.cast(seen.dtype)
    except pl.exceptions.PolarsError:
        levels = getattr(seen.dtype, "categories", None)
        held = f"values of type {seen.dtype}"
        if levels is not None:
            held = f"the levels {levels.to_list()[:10]}"
            outside = new.cast(pl.String).filter(~new.cast(pl.String).is_in(levels.to_list()))
            refuse(name, held, _first_polars(outside))
        refuse(name, held, _first_polars(new))


def _cast_polars_numbers(seen, new, name):
    import polars as pl

    if new.dtype == pl.Boolean:
        return new.cast(seen.dtype)
    if not new.dtype.is_numeric():
        values = new.cast(pl.String).cast(pl.Float64, strict=False)
        lost = new.filter(values.is_null() & new.is_not_null())
        if len(lost) or not _is_text(new.dtype):
            refuse(name, "numbers", _first_polars(lost if len(lost) else new))
        new = values
    if seen.dtype.is_float():
        return new.cast(seen.dtype)
    cast = new.cast(seen.dtype, strict=False)
    kept = cast.null_count() == new.null_count() and (cast == new).drop_nulls().all()
    return cast if kept else new


def _is_text(dtype):
    import polars as pl

    return dtype in (pl.String, pl.Categorical) or isinstance(dtype, pl.Enum)


def _first_polars(series):
    known = series.drop_nulls()
    return known[0] if len(known) else None
