"""How a learner trains its estimator: seeded, warm or cold, with skorch's silent habits caught."""

from sklearn.pipeline import Pipeline

from skal.neural_network import check_foreign_net, explain_fit_error, guard_interrupts, torch_seed
from skal.utils._tables import concat_rows, n_rows
from skal.utils._unwrap import final_step, inner_estimators
from skal.utils.validation import missing_target, target_values


def train(estimator, X, y, fit_params, seed):
    """Fit `estimator` in place with torch seeded from `seed`, and return it.

    Raises
    ------
    ValueError
        If a plain skorch net would train on the wrong thing without saying so.
    """
    check_foreign_net(estimator, y)
    guard_interrupts(estimator)
    with torch_seed(seed):
        try:
            return estimator.fit(X, y, **fit_params)
        except Exception as error:
            explanation = explain_fit_error(estimator, error)
            if explanation is None:
                raise
            raise type(error)(explanation) from error


def check_warm_start(estimator):
    """Raise ValueError where ``warm_start=True`` could have no effect."""
    for inner in inner_estimators(estimator):
        if inner is final_step(estimator):
            break
        if not isinstance(inner, Pipeline):
            raise ValueError(_no_effect_inside(inner))
    last = final_step(estimator)
    if "warm_start" in last.get_params(deep=False):
        return
    wraps = sum(1 for _ in inner_estimators(last)) > 1
    raise ValueError(
        _no_effect_inside(last)
        if wraps
        else f"warm_start=True needs a predictor with a warm_start of its own. "
        f"{type(last).__name__} has none: use warm_start=False."
    )


def _no_effect_inside(estimator):
    name = type(estimator).__name__
    inner = "regressor" if hasattr(estimator, "regressor") else "estimator"
    advice = (
        "Use standardize_y=True on the net instead."
        if inner == "regressor"
        else "Use warm_start=False."
    )
    return (
        f"warm_start=True has no effect inside {name}, which clones its {inner} at every fit. "
        f"{advice}"
    )


def enable_warm_start(estimator):
    """Let the predictor at the end of an unfitted `estimator` keep its weights between fits."""
    final_step(estimator).set_params(warm_start=True)


def with_unlabeled(X, y, X_unlabeled):
    """Append rows whose label is missing, for estimators that learn from those too."""
    return concat_rows(X, X_unlabeled), missing_target(target_values(y), n_rows(X_unlabeled))
