"""Tables from files: CSV in the habits of spreadsheets, and parquet."""

import codecs
import csv
import io
import re
from pathlib import Path

import numpy as np

SEPARATORS = ",;\t|"
PARQUET = (".parquet", ".pq")
# What programs on Windows write where nobody asked for UTF-8.
_FALLBACK = "cp1252"
_DECIMAL_COMMA = re.compile(r"\s*[-+]?(\d{1,3}(\.\d{3})+|\d+),\d+([eE][-+]?\d+)?\s*")
_WHOLE = re.compile(r"\s*[-+]?(\d{1,3}(\.\d{3})+|\d+)\s*")


def read_csv(path, *, missing=None, separator=None, decimal=None, encoding=None):
    """Read a CSV file as a DataFrame, or say in one sentence why it cannot be read.

    See :func:`read_table`, which also returns how it was read.
    """
    return read_table(
        path, missing=missing, separator=separator, decimal=decimal, encoding=encoding
    )[0]


def read_table(path, *, missing=None, separator=None, decimal=None, encoding=None):
    """Read a CSV or parquet file as a DataFrame, or say in one sentence why it cannot be read.

    Parameters
    ----------
    path : path-like
        A CSV file, perhaps compressed (.gz, .bz2, .xz, .zip), or one that ends in .parquet or .pq.

    missing : tuple of str or None, default=None
        Texts that mean a missing value; None is those of pandas (empty, "NA", "None", "nan", ...).

    separator, decimal, encoding : str or None, default=None
        None finds out: the separator is the one of ``,``, ``;``, tab and ``|`` that the first line
        holds most of; the decimal mark is a comma where the separator is none and a column of such
        numbers is there; the encoding is UTF-8 (a byte order mark is skipped, and one of UTF-16
        noticed) or, where that fails, Windows-1252.

    Returns
    -------
    frame : DataFrame
        The rows.

    how : dict
        The keywords with which ``pandas.read_csv`` reads the same; those it would take anyway are
        left out.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If it is no table with a header and at least one row, or two columns share a name.
    """
    path = Path(path)
    if not path.is_file():
        what = "It is a folder." if path.is_dir() else "There is no such file."
        raise FileNotFoundError(f"Cannot read {str(path)!r}. {what} Pass the path of a CSV file.")
    if path.suffix.lower() in PARQUET:
        frame, how = _read_parquet(path), {}
    elif path.suffix.lower() in (".xlsx", ".xls", ".ods"):
        raise ValueError(f"{str(path)!r} is a spreadsheet. Save the sheet as a CSV file in UTF-8.")
    else:
        frame, how = _read_csv(path, missing, separator, decimal, encoding)
    if len(frame) == 0:
        raise ValueError(f"{str(path)!r} has a header and no rows. Add at least one row.")
    return frame, how


def _read_parquet(path):
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise ValueError(f"{str(path)!r} needs pyarrow to be read: pip install pyarrow.") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"Cannot read {str(path)!r} as a parquet file: {_first(error)}") from error
    _check_names([str(name) for name in frame.columns], path)
    return frame.reset_index(drop=True)


def _read_csv(path, missing, separator, decimal, encoding):
    import pandas as pd

    tried = (encoding,) if encoding else (_encoding_by_mark(path), _FALLBACK)
    options = {"na_values": missing, "keep_default_na": missing is None, "low_memory": False}
    for last, name in zip((False, True) if len(tried) > 1 else (True,), tried, strict=True):
        try:
            names, sep = _header(path, name, separator)
            options |= {"sep": sep, "encoding": name, "decimal": decimal or "."}
            frame = pd.read_csv(path, **options)
            if decimal is None and sep != "," and _has_decimal_commas(frame):
                options |= {"decimal": ",", "thousands": "."}
                frame = pd.read_csv(path, **options)
            break
        except UnicodeError as error:
            if last:
                raise ValueError(_unreadable(path, tried, error)) from error
        except (ValueError, LookupError, csv.Error) as error:
            # Of pandas (EmptyDataError, ParserError), an unknown encoding, or ours.
            raise ValueError(_unreadable(path, tried[:1], error)) from error
    _check_names(names, path)
    usual = {"sep": ",", "decimal": ".", "encoding": "utf-8-sig"}
    how = {k: options[k] for k in ("sep", "decimal", "thousands", "encoding") if k in options}
    return frame, {k: v for k, v in how.items() if usual.get(k) != v}


def _unreadable(path, encodings, error):
    names = " or ".join(name.removesuffix("-sig").upper() for name in encodings)
    return (
        f"Cannot read {str(path)!r} as a CSV file in {names}: {_first(error)}. Its first line must "
        "name the columns."
    )


def _first(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _encoding_by_mark(path):
    """UTF-8, or UTF-16 where the file, decompressed, begins with its byte order mark."""
    from pandas.io.common import get_handle

    with get_handle(path, "rb", is_text=False, compression="infer") as handles:
        start = handles.handle.read(2)
    return "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _header(path, encoding, separator):
    """Return the names in the first line, as they stand, and the separator."""
    import pandas as pd
    from pandas.io.common import get_handle

    with get_handle(path, "r", encoding=encoding, compression="infer") as handles:
        start = handles.handle.read(1 << 16)
    if "\0" in start:
        raise ValueError("it holds NUL bytes")
    if not start.strip():
        raise pd.errors.EmptyDataError("it is empty")
    line = start.lstrip("\r\n").splitlines()[0]
    sep = separator or max(SEPARATORS, key=line.count)
    names = next(csv.reader(io.StringIO(start.lstrip("\r\n")), delimiter=sep))
    return names, sep


def _check_names(names, path):
    twice = [name for i, name in enumerate(names) if name.strip() and name in names[:i]]
    if twice:
        raise ValueError(
            f"{str(path)!r} has two columns called {twice[0]!r}. Every column needs a name of its "
            "own."
        )


def _has_decimal_commas(frame):
    """Whether some column of text holds numbers with decimal commas, and nothing but numbers."""
    for name in frame.columns:
        column = frame[name]
        if is_numeric(column):
            continue
        texts = column.dropna().astype(str)
        commas = texts.map(lambda text: bool(_DECIMAL_COMMA.fullmatch(text)))
        whole = texts.map(lambda text: bool(_WHOLE.fullmatch(text)))
        if commas.any() and (commas | whole).all():
            return True
    return False


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
