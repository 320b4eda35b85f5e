"""The preprocessing in front of a predictor, fitted before any label is known."""

from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline

from skal.utils._nesting import inner_estimators


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
    preprocessor : Pipeline or None
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
            steps += [step for _, step in inner.steps[:-1] if step not in (None, "passthrough")]
    if not steps:
        return None
    preprocessor = make_pipeline(*[clone(step) for step in steps])
    try:
        return preprocessor.fit(X)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Before any label is known, the inputs are those of the estimator's preprocessing, "
            f"fitted on the pool without labels, which failed: {error} "
            "Freeze a fitted preprocessing (FrozenEstimator), or start with RandomSampling."
        ) from error
