"""Moved to :mod:`skal.testing`; the names here still work, with a DeprecationWarning."""

from skal.utils._deprecation import moved

__getattr__ = moved(
    "skal.utils.estimator_checks",
    dict.fromkeys(
        ["check_batch_selector", "check_query_strategy", "query_strategy_checks"], "skal.testing"
    ),
)
