"""Every name that skal imports from a private module of scikit-learn, in one place.

A new scikit-learn release that moves one of them breaks this module alone.
"""

from sklearn.base import BaseEstimator, _fit_context, is_classifier, is_regressor
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    StrOptions,
    validate_parameter_constraints,
    validate_params,
)
from sklearn.utils.metadata_routing import _raise_for_params, _routing_enabled
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_sample_weight,
    _check_y,
)

__all__ = [
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "Predictor",
    "StrOptions",
    "_check_feature_names_in",
    "_check_sample_weight",
    "_check_y",
    "_fit_context",
    "_raise_for_params",
    "_routing_enabled",
    "_safe_indexing",
    "validate_parameter_constraints",
    "validate_params",
]


class Predictor(HasMethods):
    """The constraint of what predicts, once it is fitted.

    Some classifiers and regressors of scikit-learn's own show `predict` after `fit` only, such as
    stacking with its default final estimator.
    """

    def is_satisfied_by(self, val):
        if super().is_satisfied_by(val):
            return True
        return isinstance(val, BaseEstimator) and (is_classifier(val) or is_regressor(val))
