"""What a model answered, checked and made into tensors and Rows."""

import numpy as np
import torch

from skal.utils._rows import Rows


def check_probabilities(probabilities, owner):
    """Return class probabilities as a float64 tensor, or say what is wrong with them."""
    if isinstance(probabilities, list):
        raise ValueError(
            f"{owner} serves one output. Got the probabilities of {len(probabilities)} outputs "
            "instead. Use one learner per output."
        )
    P = probabilities
    if not isinstance(P, torch.Tensor):
        P = torch.tensor(np.ascontiguousarray(P, dtype=np.float64))
    if P.ndim != 2:
        raise ValueError(
            f"{owner} needs probabilities of shape (n_samples, n_classes). Got "
            f"{tuple(P.shape)} instead."
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


def check_finite_scores(scores, owner):
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise ValueError(
            f"{owner} got NaN or infinity for {len(bad)} of {len(scores)} rows (first: "
            f"{bad[:5].tolist()}). Check the model's outputs: a diverged training gives these."
        )


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
            f"numbers ({error}). Put the encoding of text and categories into the estimator "
            "(make_pipeline(preprocessing, predictor)), where the strategy finds it."
        ) from error
    Z = np.ascontiguousarray(Z.reshape(len(Z), -1))
    return Rows(Z if device.type == "cpu" else torch.tensor(Z, device=device))
