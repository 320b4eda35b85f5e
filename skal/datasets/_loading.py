"""What `python -m skal --data` accepts: bundled sets by name, Ames Housing, CSV files."""

from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
from sklearn import datasets

from skal.datasets._ames import fetch_ames_housing
from skal.datasets._tables import is_numeric, read_csv, with_categories

BUNDLED = {
    "diabetes": "regression",
    "breast_cancer": "classification",
    "digits": "classification",
    "iris": "classification",
    "wine": "classification",
}


class Table(NamedTuple):
    """Rows with labels, ready for a simulation.

    `X` is a DataFrame of numeric and categorical columns, `y` an ndarray, `task` "regression" or
    "classification", and `left_out` says in words what the file holds and `X` does not.
    """

    name: str
    X: object
    y: np.ndarray
    target: str
    task: str
    left_out: tuple = ()


def load_table(data, target=None):
    """Return the :class:`Table` that `data` names.

    Parameters
    ----------
    data : str
        "ames", a key of `BUNDLED`, or the path of a CSV file.

    target : str or None, default=None
        The column of a CSV file to predict. Must be given for these, and only these.

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
        return _ames() if data == "ames" else _bundled(data)
    try:
        frame = read_csv(data)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} Or one of the names {', '.join(['ames', *BUNDLED])}."
        ) from error
    return _from_frame(frame, data, target)


def _bundled(name):
    loader = getattr(datasets, f"load_{name}")
    bunch = loader(as_frame=True, **({"scaled": False} if name == "diabetes" else {}))
    return Table(name, bunch.data, bunch.target.to_numpy(), "target", BUNDLED[name])


def _ames():
    X, y = fetch_ames_housing(return_X_y=True)
    return Table("ames", X, y.to_numpy(), y.name, "regression")


def _from_frame(frame, path, target):
    """Split off the target, leave out what cannot be learnt from, and check the rest."""
    columns = [str(name) for name in frame.columns]
    frame.columns = columns
    if target is None:
        raise ValueError(
            f"A CSV file needs a target: the name of the column to predict. {path!r} has the "
            f"columns {_shortened(columns)}."
        )
    if target not in columns:
        close = get_close_matches(target, columns, n=1, cutoff=0.5)
        hint = f"Did you mean {close[0]!r}?" if close else f"It has {_shortened(columns)}."
        raise ValueError(f"{path!r} has no column {target!r}. {hint}")

    y = _check_target(frame[target], path)
    X = frame.drop(columns=target)
    names = [name for name in X.columns if _only_names_rows(X[name])]
    left_out = [f"column {name!r} (it only numbers or names the rows)" for name in names]
    known = y.notna().to_numpy()
    if not known.all():
        left_out.append(f"{(~known).sum()} rows without a value of {target!r}")
    X = with_categories(X.drop(columns=names).loc[known]).reset_index(drop=True)
    _check_features(X, path)
    return Table(path, X, y[known].to_numpy(np.float64), target, "regression", tuple(left_out))


def _check_target(y, path):
    if not is_numeric(y):
        example = next(iter(y.dropna()), None)
        raise ValueError(
            f"The target {y.name!r} of {path!r} is not numeric (it holds {example!r}, for "
            "instance). Choose a column of numbers."
        )
    known = y.dropna()
    if not np.isfinite(known).all():
        raise ValueError(f"The target {y.name!r} of {path!r} holds infinite values.")
    if known.nunique() < 2:
        raise ValueError(
            f"The target {y.name!r} of {path!r} must take at least two values. Got "
            f"{known.nunique()} instead."
        )
    return y


def _check_features(X, path):
    if X.shape[1] == 0:
        raise ValueError(f"{path!r} has no column to predict from, beside the target.")
    for name in X.columns:
        if is_numeric(X[name]) and np.isinf(X[name]).any():
            raise ValueError(f"The column {name!r} of {path!r} holds infinite values.")


def _only_names_rows(column):
    """Whether a column counts the rows (from 0 or 1), or holds another text in each of them."""
    if is_numeric(column):
        values = column.to_numpy()
        return any(np.array_equal(values, np.arange(len(values)) + start) for start in (0, 1))
    return len(column) > 2 and column.notna().all() and column.is_unique


def _shortened(names, most=8):
    text = ", ".join(repr(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"
