"""What a model answered, checked and made into tensors and Rows."""

import numpy as np
import torch

from skal.utils._rows import Rows
from skal.utils._tables import is_pandas, is_polars, take_rows


def check_probabilities(probabilities, owner):
    """Return class probabilities as a float64 tensor, or say what is wrong with them."""
    if isinstance(probabilities, list):
        raise ValueError(_one_output(owner, f"the probabilities of {len(probabilities)} outputs"))
    P = probabilities
    if not isinstance(P, torch.Tensor):
        P = torch.tensor(np.ascontiguousarray(P, dtype=np.float64))
    if P.ndim != 2:
        raise ValueError(
            f"{owner} needs probabilities of shape (n_samples, n_classes). Got "
            f"{tuple(P.shape)} instead. Of nets that answer for each pixel or token, "
            "LeastConfidence, MarginSampling, EntropySampling and NoiseStability make use."
        )
    if P.shape[1] < 2:
        raise ValueError(
            f"{owner} needs at least two classes. Got {P.shape[1]} class instead: label rows of "
            "another one first, or fix the columns of a net with classes=."
        )
    # Negated so that NaN counts as bad too.
    bad = ~((P >= 0).all(1) & ((P.sum(1) - 1).abs() <= 1e-3))
    if bad.any():
        rows = torch.nonzero(bad).ravel()
        raise ValueError(
            f"{owner} needs probabilities that are not negative and sum to 1 in every row. "
            f"{len(rows)} of {len(P)} rows are not so (first: {rows[:5].tolist()})."
        )
    return P


def _one_output(owner, got):
    return (
        f"{owner} serves one output. Got {got} instead. LeastConfidence, MarginSampling, "
        "EntropySampling and QueryByCommittee serve several, and so do CoreSet, TypiClust and "
        "RandomSampling."
    )


def split_outputs(estimator, X, probabilities, owner):
    """Return the class probabilities of each output: float64 tensors (n, n_classes).

    Estimators of several outputs answer with a list, multi-label ones with a column per label.
    """
    if isinstance(probabilities, list):
        return [_check_output(P, owner) for P in probabilities]
    if labels_of_columns(estimator, X, probabilities):
        columns = np.asarray(probabilities, dtype=np.float64).T
        return [_check_output(np.column_stack([1 - p, p]), owner) for p in columns]
    return [check_probabilities(probabilities, owner)]


def _check_output(P, owner):
    """An output that had one class in training is sure of it."""
    P = np.asarray(P, dtype=np.float64)
    return check_probabilities(np.column_stack([P, 1 - P]) if P.shape[1] == 1 else P, owner)


def labels_of_columns(estimator, X, P):
    """Whether the columns of P are independent labels, of which a row may have several."""
    if isinstance(P, (list, torch.Tensor)) or np.ndim(P) != 2:
        return False
    if (np.abs(np.asarray(P).sum(1) - 1) <= 1e-3).all():
        return False
    predicted = estimator.predict(take_rows(X, [0]))
    return np.ndim(predicted) == 2 or hasattr(predicted, "toarray")


def check_one_output(estimator, X, P, owner):
    """Raise ValueError if the columns of P are labels of which a row may have several."""
    if labels_of_columns(estimator, X, P):
        raise ValueError(_one_output(owner, f"a multi-label classifier of {P.shape[1]} labels"))


def check_finite_scores(scores, owner):
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise ValueError(
            f"{owner} got NaN or infinity for {len(bad)} of {len(scores)} rows (first: "
            f"{bad[:5].tolist()}). Check the model's outputs: a diverged training gives these."
        )


def needs_encoding(X):
    """Whether a table holds categories, text, dates or gaps, which are no numbers to subtract."""
    if is_pandas(X):
        kinds = {dtype.kind if dtype.name != "category" else "O" for dtype in _dtypes(X)}
        return bool(kinds - set("biufc")) or bool(X.isna().to_numpy().any())
    if is_polars(X):
        numeric = all(dtype.is_numeric() or str(dtype) == "Boolean" for dtype in X.dtypes)
        return not numeric or any(column.null_count() for column in X)
    if not isinstance(X, (np.ndarray, list)) or np.ndim(X) != 2:
        return False
    X = np.asarray(X, dtype=object) if isinstance(X, list) else X
    if X.dtype.kind == "f":
        return bool(np.isnan(X).any())
    if X.dtype.kind not in "OUS":
        return False
    try:
        return bool(np.isnan(X.astype(np.float64)).any())
    except (TypeError, ValueError):
        return True


def _dtypes(X):
    return list(X.dtypes) if X.ndim == 2 else [X.dtype]


def numeric_rows(X, device, owner):
    """Return inputs of any container as Rows of floats, or say that they are not numbers."""
    if hasattr(X, "toarray"):
        X = X.toarray()
    try:
        Z = np.asarray(X.detach().cpu() if isinstance(X, torch.Tensor) else X)
        Z = Z if Z.dtype in (np.float32, np.float64) else Z.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{owner} measures distances between the inputs of the predictor, which must be "
            f"numbers ({error}). Put what makes numbers of them into the estimator "
            "(make_pipeline(preprocessing, predictor)), where the strategy finds it, or pass it "
            "to CoreSet, TypiClust and their like: space=transformer."
        ) from error
    Z = np.ascontiguousarray(Z.reshape(len(Z), -1))
    return Rows(Z if device.type == "cpu" else torch.tensor(Z, device=device))
