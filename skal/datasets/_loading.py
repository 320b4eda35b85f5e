"""What `python -m skal --data` accepts: bundled sets by name, Ames Housing, files."""

from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
from sklearn import datasets

from skal.datasets._ames import fetch_ames_housing
from skal.datasets._tables import PARQUET, is_numeric, read_table
from skal.preprocessing._columns import date_format

BUNDLED = {
    "diabetes": "regression",
    "breast_cancer": "classification",
    "digits": "classification",
    "iris": "classification",
    "wine": "classification",
}
TASKS = ("classification", "regression")
# Whole numbers are classes where they take at most so many values, each this often on average.
_MOST_CODES, _ROWS_PER_CODE = 20, 5
# Texts of so many words and more, on average, are no names of their rows.
_WORDS = 3


class Table(NamedTuple):
    """Rows with labels, ready for a simulation.

    `X` is a DataFrame, `y` an ndarray, `task` "regression" or "classification", and `why` says how
    that was found out, or "". `left_out` says in words what the file holds and `X` does not.
    `source` are the lines of Python that make X and y, as pandas objects.
    """

    name: str
    X: object
    y: np.ndarray
    target: str
    task: str
    left_out: tuple = ()
    why: str = ""
    source: tuple = ()


def load_table(data, target=None, *, task=None, separator=None, decimal=None, encoding=None):
    """Return the :class:`Table` that `data` names.

    Parameters
    ----------
    data : str
        "ames", a key of `BUNDLED`, or the path of a CSV or parquet file.

    target : str or None, default=None
        The column of a file to predict. Must be given for these, and only these.

    task : {"classification", "regression"} or None, default=None
        None finds out from the target.

    separator, decimal, encoding : str or None, default=None
        Of a CSV file; None finds out, see :func:`skal.datasets._tables.read_table`.

    Raises
    ------
    OSError
        If there is no such file, or no network.
    ValueError
        If the file or its target column will not do.
    """
    if data in BUNDLED or data == "ames":
        if target is not None:
            raise ValueError(
                f"The data set {data!r} has a target of its own. Got the target {target!r} too. "
                "Leave it out, or pass the path of a CSV file."
            )
        table = _ames() if data == "ames" else _bundled(data)
        if task not in (None, table.task):
            raise ValueError(f"The data set {data!r} is a {table.task}. Got the task {task!r}.")
        return table
    try:
        frame, how = read_table(data, separator=separator, decimal=decimal, encoding=encoding)
    except FileNotFoundError as error:
        close = get_close_matches(str(data), ["ames", *BUNDLED], n=1, cutoff=0.6)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise FileNotFoundError(
            f"{error} Or one of the names {', '.join(['ames', *BUNDLED])}.{hint}"
        ) from error
    return _from_frame(frame, str(data), target, task, how)


def _bundled(name):
    loader = getattr(datasets, f"load_{name}")
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = loader(as_frame=True, **options)
    more = "".join(f", {key}={value}" for key, value in options.items())
    source = (
        f"from sklearn.datasets import load_{name}",
        "",
        f"X, y = load_{name}(return_X_y=True, as_frame=True{more})",
    )
    y = bunch.target.to_numpy()
    return Table(name, bunch.data, y, "target", BUNDLED[name], source=source)


def _ames():
    X, y = fetch_ames_housing(return_X_y=True)
    source = (
        "from skal.datasets import fetch_ames_housing",
        "",
        "X, y = fetch_ames_housing(return_X_y=True)",
    )
    return Table("ames", X, y.to_numpy(), y.name, "regression", source=source)


# ---------------------------------------------------------------------------------- files


def _from_frame(frame, path, target, task, how):
    """Split off the target, leave out what cannot be learnt from, and check the rest."""
    frame.columns = [str(name) for name in frame.columns]
    _check_target_name(target, list(frame.columns), path)
    task, why = _task_of(frame[target], path, task)
    y, known, typed = _labels(frame[target], task, path)
    X = frame.drop(columns=target)
    dates = {name: format for name in X.columns if (format := _date_format(X[name]))}
    X, how = _with_dates(X, dates, how)
    names = [name for name in X.columns if name not in dates and _only_names_rows(X[name])]
    left_out = [f"column {name!r} (it only numbers or names the rows)" for name in names]
    if not known.all():
        left_out.append(f"{(~known).sum()} rows without a value of {target!r}")
    X = X.drop(columns=names).loc[known].reset_index(drop=True)
    _check_features(X, path)
    source = _source(path, target, names, known, typed, how)
    X, y, once = _without_rare_classes(X, y, task)
    if once:
        left_out.append(f"{len(once)} rows whose class no other row has ({_shortened(once)})")
    return Table(path, X, y, target, task, tuple(left_out), why, source)


def _check_target_name(target, columns, path):
    if target is None:
        raise ValueError(
            f"A file needs a target: the name of the column to predict. {path!r} has the "
            f"columns {_shortened(columns)}."
        )
    if target not in columns:
        close = get_close_matches(target, columns, n=1, cutoff=0.5)
        same = [name for name in columns if name.strip().casefold() == target.strip().casefold()]
        close = same[:1] or close
        hint = f"Did you mean {close[0]!r}?" if close else f"It has {_shortened(columns)}."
        raise ValueError(f"{path!r} has no column {target!r}. {hint}")


def _task_of(y, path, task):
    """Return the task, given or found out, and in words why."""
    known = y.dropna()
    n_values = known.nunique()
    if n_values < 2:
        raise ValueError(
            f"The target {y.name!r} of {path!r} must take at least two values. Got {n_values} "
            "instead."
        )
    numeric = is_numeric(known)
    if numeric and not np.isfinite(known.to_numpy(np.float64)).all():
        raise ValueError(f"The target {y.name!r} of {path!r} holds infinite values.")
    if not numeric and (_date_format(known) or known.dtype.kind in "Mm"):
        raise ValueError(f"The target {y.name!r} of {path!r} holds dates. Choose another column.")
    if task == "regression" and not numeric:
        raise ValueError(
            f"The target {y.name!r} of {path!r} is not numeric (it holds {known.iloc[0]!r}, for "
            "instance). Choose a column of numbers, or the task classification."
        )
    if task is not None:
        if task == "classification":
            _check_classes(known, numeric, path)
        return task, ""
    if not numeric:
        _check_classes(known, numeric, path)
        return "classification", f"{n_values} classes"
    if n_values == 2 and len(known) > 3:
        return "classification", "2 values"
    whole = bool((known == np.round(known)).all())
    if whole and n_values <= _MOST_CODES and len(known) >= _ROWS_PER_CODE * n_values:
        return "classification", f"whole numbers of {n_values} values"
    return "regression", f"{n_values} different numbers"


def _check_classes(known, numeric, path):
    if numeric and not (known == np.round(known)).all() and known.nunique() > _MOST_CODES:
        raise ValueError(
            f"The target {known.name!r} of {path!r} takes {known.nunique()} different values with "
            "decimals, which are no classes. Use the task regression."
        )
    if known.nunique() > max(1, len(known) // 2):
        raise ValueError(
            f"The target {known.name!r} of {path!r} takes {known.nunique()} values in {len(known)} "
            f"rows ({known.iloc[0]!r}, for instance), which are no classes. Choose another column."
        )


def _labels(y, task, path):
    """Return the known labels, which rows have one, and the Python that makes the same of `y`."""
    known = y.notna().to_numpy()
    values = y[known]
    if task == "regression":
        return values.to_numpy(np.float64), known, ""
    if is_numeric(y):
        if (values == np.round(values)).all():
            return values.to_numpy(np.int64), known, "" if y.dtype.kind in "iu" else ".astype(int)"
        return values.to_numpy(np.float64), known, ""
    texts = values.astype(str)
    typed = "" if all(isinstance(value, str) for value in values) else ".astype(str)"
    if (texts != texts.str.strip()).any():
        typed += ".str.strip()"
    return texts.str.strip().to_numpy(dtype=object), known, typed


def _without_rare_classes(X, y, task):
    """Leave out rows whose class has no second row: none could be learnt from and scored on."""
    if task == "regression":
        return X, y, []
    classes, place, counts = np.unique(y, return_inverse=True, return_counts=True)
    kept = counts[place] > 1
    if kept.all():
        return X, y, []
    return X[kept].reset_index(drop=True), y[kept], classes[counts == 1].tolist()


def _check_features(X, path):
    if X.shape[1] == 0:
        raise ValueError(f"{path!r} has no column to predict from, beside the target.")
    for name in X.columns:
        if is_numeric(X[name]) and np.isinf(X[name].to_numpy(np.float64, na_value=np.nan)).any():
            raise ValueError(f"The column {name!r} of {path!r} holds infinite values.")


def _date_format(column):
    """The format of a column of text that holds dates, or None."""
    if is_numeric(column) or column.dtype.kind in "bMm" or not column.notna().any():
        return None
    return date_format(column.astype(object).where(column.notna(), None).to_numpy())


def _with_dates(X, dates, how):
    """Return X with dates as such, and the keywords with which pandas reads the same."""
    import pandas as pd

    X = X.assign(**{name: pd.to_datetime(X[name], format=f) for name, f in dates.items()})
    if dates:
        how = {**how, "parse_dates": list(dates)}
        if any(format != "ISO8601" for format in dates.values()):
            how["date_format"] = dates
    return X, how


def _only_names_rows(column):
    """Whether a column counts the rows (from 0 or 1), or holds another name in each of them."""
    if is_numeric(column):
        values = column.to_numpy()
        return any(np.array_equal(values, np.arange(len(values)) + start) for start in (0, 1))
    if column.dtype.kind in "bMm" or len(column) < 3 or column.isna().any():
        return False
    texts = column.astype(str)
    return texts.is_unique and texts.str.split().str.len().mean() < _WORDS


def _source(path, target, names, known, typed, how):
    """Lines of Python that make X and y of the file."""
    reader = "read_parquet" if path.lower().endswith(PARQUET) else "read_csv"
    arguments = [repr(path), *(f"{name}={value!r}" for name, value in how.items())]
    read = f"data = pd.{reader}({', '.join(arguments)})"
    lines = ["import pandas as pd", "", read]
    if not known.all():
        lines.append(f"data = data.dropna(subset=[{target!r}])  # or keep them, to be asked about")
    dropped = [target, *names]
    lines.append(f"X, y = data.drop(columns={dropped!r}), data[{target!r}]{typed}")
    return tuple(lines)


def _shortened(names, most=8):
    text = ", ".join(repr(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"
