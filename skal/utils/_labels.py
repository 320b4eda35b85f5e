"""New labels: whether they go with those before them, and one target of both."""

import numbers

import numpy as np

from skal.utils._casting import cast_polars
from skal.utils._tables import concat_rows, is_pandas, is_polars, is_tensor
from skal.utils.validation import target_values


def check_labels(new, old, *, task, classes=None, whose="the estimator"):
    """Raise ValueError unless labels are of the kind of those before them.

    Parameters
    ----------
    new : array, tensor, Series or frame of shape (n_new,) or (n_new, n_outputs)
        Labels, none of them missing.

    old : the same, or None
        Those before them; None if there are none.

    task : {"classifier", "regressor", ...} or None
        What the labels are for.

    classes : array-like or None, default=None
        The only classes there may be.

    whose : str, default="the estimator"
        Who allows these classes, for the error.
    """
    values = target_values(new)
    if values.dtype.kind in "fc" and not np.isfinite(values).all():
        bad = values[~np.isfinite(values)]
        raise ValueError(
            f"Labels must be finite. Got {bad.ravel()[0]} instead. Nothing was kept; mark a "
            "missing label by NaN or None."
        )
    if {"text", "numbers"} <= kinds_of(values):
        texts, figures = (_first_other(values, {kind}) for kind in ("numbers", "text"))
        raise ValueError(
            f"Labels must be of one kind. Got text ({texts!r}) and numbers ({figures!r}) instead. "
            "Nothing was kept: correct the label."
        )
    if old is not None:
        _check_against(values, target_values(old), task)
    elif task == "regressor" and kinds_of(values) - {"numbers"}:
        raise ValueError(
            f"Labels of a regressor must be numbers. Got {_first_other(values, {'numbers'})!r} "
            "instead."
        )
    if classes is not None and values.ndim == 1:
        allowed = set(np.asarray(classes).ravel().tolist())
        outside = [value for value in values.tolist() if value not in allowed]
        if outside:
            raise ValueError(
                f"Labels must be among the classes of {whose}, {_listed(classes)}. Got "
                f"{outside[0]!r} instead. Nothing was kept: correct the label, or start again with "
                "fit to learn other classes."
            )


def _check_against(values, old, task):
    if values.shape[1:] != old.shape[1:]:
        raise ValueError(
            f"New labels must have the shape of those before them, (n_samples, {old.shape[1:]}). "
            f"Got {values.shape} instead. Nothing was kept."
        )
    held = kinds_of(old)
    if held and kinds_of(values) - held:
        stranger = _first_other(values, held)
        raise ValueError(
            f"New labels must be of the kind of those before them ({' and '.join(sorted(held))}: "
            f"{_listed(old)}). Got {stranger!r} instead. Nothing was kept: correct the label."
        )
    if task == "classifier" and "numbers" in held:
        fractions = values[~_is_whole(values)]
        if len(fractions) and _is_whole(old).all():
            raise ValueError(
                f"The classes so far are whole numbers ({_listed(old)}). Got {fractions[0]} "
                "instead. Nothing was kept: correct the label, or use a regressor."
            )
        indicators = values.ndim == 2 and values.shape[1] > 1 and np.isin(old, (0, 1)).all()
        if indicators and not np.isin(values, (0, 1)).all():
            bad = values[~np.isin(values, (0, 1))][0]
            raise ValueError(
                f"The labels so far are indicators, 0 or 1 for each output. Got {bad} instead. "
                "Nothing was kept: correct the label."
            )


def kinds_of(values):
    """The kinds of value in an array: a set of names."""
    if values.dtype.kind in "biufc":
        return {"numbers"} if len(values) else set()
    if values.dtype.kind != "O":
        return {{"U": "text", "S": "bytes"}.get(values.dtype.kind, "dates")}
    return {_kind_of(value) for value in values.ravel()}


def _kind_of(value):
    if isinstance(value, (numbers.Number, np.bool_)):
        return "numbers"
    if isinstance(value, str):
        return "text"
    return "bytes" if isinstance(value, bytes) else type(value).__name__


def _first_other(values, held):
    flat = values.ravel().tolist()
    return next(value for value in flat if _kind_of(value) not in held)


def _is_whole(values):
    if values.dtype.kind not in "fO":
        return np.ones(values.shape, dtype=bool)
    return np.frompyfunc(_is_whole_number, 1, 1)(values).astype(bool)


def _is_whole_number(value):
    return not isinstance(value, numbers.Real) or value == int(value)


def _listed(values):
    known = np.asarray(values).ravel().tolist()
    distinct = sorted(set(known), key=lambda value: (str(type(value)), value))
    shown = ", ".join(repr(value) for value in distinct[:6])
    return f"{shown}, ..." if len(distinct) > 6 else shown


# ---------------------------------------------------------------------- one target of both


def append_target(labels, new):
    """Return `labels` followed by `new`, in the container of `labels`.

    Types are promoted as NumPy promotes them, so that every label keeps its value.

    Raises
    ------
    ValueError
        If `labels` are declared to have no other levels than theirs, and `new` has.
    """
    if is_pandas(labels):
        return _append_pandas(labels, new)
    if is_polars(labels):
        return _append_polars(labels, new)
    joined = np.concatenate([target_values(labels), target_values(new)])
    if is_tensor(labels):
        import torch

        return torch.as_tensor(joined, device=labels.device)
    return joined


def _append_pandas(labels, new):
    import pandas as pd

    if labels.ndim == 1:
        new = new if is_pandas(new) else pd.Series(target_values(new))
        return _append_series(labels, new.rename(labels.name))
    if not is_pandas(new):
        new = pd.DataFrame(target_values(new), columns=labels.columns)
    new = new[labels.columns]
    outputs = [_append_series(labels.iloc[:, i], new.iloc[:, i]) for i in range(labels.shape[1])]
    return pd.concat(outputs, axis=1)


def _append_series(labels, new):
    import pandas as pd

    dtypes = labels.dtype, new.dtype
    if isinstance(labels.dtype, pd.CategoricalDtype):
        return _append_categories(labels, new)
    if all(isinstance(dtype, np.dtype) and dtype.kind in "biuf" for dtype in dtypes):
        dtype = np.result_type(*dtypes)
        return pd.concat([labels.astype(dtype), new.astype(dtype)])
    if isinstance(new.dtype, pd.CategoricalDtype):
        new = new.astype(new.cat.categories.dtype)
    if kinds_of(target_values(labels)) == {"text"}:
        new = new.astype(object).astype(labels.dtype)
    return pd.concat([labels, new])


def _append_categories(labels, new):
    import pandas as pd

    levels = labels.cat.categories
    unseen = [level for level in pd.unique(new.astype(object)) if level not in levels]
    if unseen and labels.cat.ordered:
        raise ValueError(_undeclared(unseen[0], levels))
    dtype = pd.CategoricalDtype([*levels, *unseen], ordered=labels.cat.ordered)
    return pd.concat([labels.astype(dtype), new.astype(object).astype(dtype)])


def _append_polars(labels, new):
    import polars as pl

    if len(labels.shape) == 2:
        new = new if is_polars(new) else pl.DataFrame(target_values(new), labels.columns)
        return pl.DataFrame([_append_polars(labels[name], new[name]) for name in labels.columns])
    new = new if is_polars(new) else pl.Series(labels.name, target_values(new).tolist())
    new = new.rename(labels.name)
    numeric = [kind.is_numeric() or kind == pl.Boolean for kind in (labels.dtype, new.dtype)]
    if labels.dtype != new.dtype and all(numeric):
        return pl.Series(labels.name, np.concatenate([labels.to_numpy(), new.to_numpy()]))
    try:
        labels, new = cast_polars(labels, new, labels.name)
    except ValueError as error:
        levels = getattr(labels.dtype, "categories", None)
        if levels is None:
            raise
        outside = [label for label in new.to_list() if label not in levels.to_list()]
        raise ValueError(_undeclared(outside[0], levels.to_list())) from error
    return concat_rows(labels, new)


def _undeclared(label, levels):
    return (
        f"Labels must be among the levels that those of fit declare, {_listed(list(levels))}. "
        f"Got {label!r} instead. Nothing was kept: correct the label, or fit with labels that "
        "declare it."
    )
