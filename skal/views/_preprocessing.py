"""The preprocessing in front of a predictor, fitted before any label is known."""

from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from skal.utils._nesting import acting_steps, inner_estimators, transform_rows


class Preprocessing:
    """Fitted transformers, applied one after the other."""

    def __init__(self, transformers):
        self.transformers = transformers

    def transform(self, X):
        return transform_rows(self.transformers, X)


def fit_preprocessing(estimator, X):
    """Fit clones of the transformers in front of the predictor of `estimator` on `X`.

    Parameters
    ----------
    estimator : estimator or None
        An unfitted estimator, however wrapped. Frozen transformers are used as they are.

    X : array-like of shape (n_samples, n_features)
        The pool.

    Returns
    -------
    preprocessing : Preprocessing or None
        The fitted transformers, or None if there are none.

    Raises
    ------
    ValueError
        If one of the transformers cannot be fitted without labels.
    """
    steps = []
    for inner in inner_estimators(estimator):
        if isinstance(inner, FrozenEstimator):
            break
        if isinstance(inner, Pipeline):
            steps += acting_steps(inner.steps[:-1])
    if not steps:
        return None
    fitted = []
    try:
        for step in steps:
            transformer = clone(step)
            transformer.fit(X, None)
            X = transformer.transform(X)
            fitted.append(transformer)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            "Before any label is known, the inputs are those of the estimator's preprocessing, "
            f"fitted on the pool without labels, which failed: {error} "
            "Freeze a fitted preprocessing (FrozenEstimator), or start with RandomSampling."
        ) from error
    return Preprocessing(fitted)
