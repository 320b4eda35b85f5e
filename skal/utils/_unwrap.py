"""The estimators inside a meta-estimator, before it is fitted."""

from sklearn.pipeline import Pipeline


def final_step(estimator):
    """The predictor at the end of `estimator` when it is a (nested) Pipeline, else itself."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def inner_estimators(estimator):
    """Yield `estimator` and every estimator it is built around, outermost first.

    Follows the last step of a Pipeline and the parameters `estimator`, `regressor` and
    `base_estimator` of meta-estimators: the places where scikit-learn keeps the predictor.
    """
    seen = set()
    while estimator is not None and id(estimator) not in seen:
        seen.add(id(estimator))
        yield estimator
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
            continue
        for name in ("estimator", "regressor", "base_estimator"):
            inner = vars(estimator).get(name) if hasattr(estimator, "__dict__") else None
            if inner is not None and hasattr(inner, "fit"):
                estimator = inner
                break
        else:
            return
