"""What may be passed to a session."""

import numbers


def check_annotator(annotator):
    """Return the name of an annotator, "" for None."""
    if annotator is None:
        return ""
    if not isinstance(annotator, str):
        raise TypeError(f"annotator must be a str or None. Got {annotator!r} instead.")
    return annotator


def check_parameters(learner, settings, lease, resolve, on_change):
    """Raise where a parameter of a session will not do."""
    if isinstance(learner, type) or not hasattr(learner, "restore"):
        raise TypeError(
            f"learner must be an ActiveLearner. Got {learner!r} instead. Wrap the estimator: "
            "ActiveLearner(estimator, strategy)."
        )
    for name in ("n_instances", "n_initial"):
        _check_whole(name, settings[name])
    for name in ("audit", "again"):
        value = settings[name]
        if not isinstance(value, numbers.Real) or not 0 <= value < 1:
            raise ValueError(f"{name} must be a share, at least 0 and below 1. Got {value!r}.")
    if settings["refit"] not in ("batch", None):
        _check_whole("refit, if neither 'batch' nor None,", settings["refit"])
    if not isinstance(lease, numbers.Real) or not lease > 0:
        raise ValueError(f"lease must be a number of seconds above 0. Got {lease!r} instead.")
    if resolve not in ("latest", "majority") and not callable(resolve):
        raise ValueError(f"resolve must be 'latest', 'majority' or a callable. Got {resolve!r}.")
    if on_change not in ("raise", "find", "trust"):
        raise ValueError(f"on_change must be 'raise', 'find' or 'trust'. Got {on_change!r}.")


def _check_whole(name, value):
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an int of at least 1. Got {value!r} instead.")
