"""Tables from CSV files: numbers stay numbers, text becomes categories."""

from pathlib import Path

import numpy as np

SEPARATORS = ",;\t"


def read_csv(path, *, missing=None):
    """Read a CSV file as a DataFrame, or say in one sentence why it cannot be read.

    The separator is the one of ``,``, ``;`` and tab that the first line holds most of; a UTF-8
    byte order mark is skipped. `missing` are the strings that mean a missing value; None is those
    of pandas (empty, "NA", "None", "nan", ...).

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If it is no CSV file with a header and at least one row.
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        what = "It is a folder." if path.is_dir() else "There is no such file."
        raise FileNotFoundError(f"Cannot read {str(path)!r}. {what} Pass the path of a CSV file.")
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        if "\0" in header:
            raise ValueError("it holds NUL bytes")
        frame = pd.read_csv(
            path,
            sep=max(SEPARATORS, key=header.count),
            encoding="utf-8-sig",
            na_values=missing,
            keep_default_na=missing is None,
            low_memory=False,
        )
    except ValueError as error:
        # Of pandas (EmptyDataError, ParserError), of the decoding, or ours.
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"Cannot read {str(path)!r} as a CSV file in UTF-8: {reason}. Its first line must name "
            "the columns."
        ) from error
    if len(frame) == 0:
        raise ValueError(f"{str(path)!r} has a header and no rows. Add at least one row.")
    return frame


def is_numeric(column):
    """Whether a pandas column holds numbers (True and False are none)."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(column) and not is_bool_dtype(column)


def with_categories(frame, *, missing=()):
    """Return `frame` with every column that is not numeric as a pandas category.

    Categories are strings in alphabetical order, without blanks at either end. Missing values stay
    missing, and so do the strings in `missing`.
    """
    import pandas as pd

    columns = {}
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.astype(object)
        if not is_numeric(column):
            known = column.notna() & ~column.isin(missing)
            text = column[known].map(str).str.strip()
            column = pd.Series(np.nan, index=frame.index, dtype=object)
            column[known] = text
            column = column.astype(pd.CategoricalDtype(sorted(set(text))))
        columns[name] = column
    return pd.DataFrame(columns, index=frame.index)
