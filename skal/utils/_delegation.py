"""What learners hand on to the estimator they hold."""

from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skal.utils.validation import validate_rows


def held_has(method):
    """Whether the fitted estimator that a learner holds, or else the one given, has `method`."""

    def check(self):
        getattr(getattr(self, self._fitted, getattr(self, self._given)), method)
        return True

    return check


class DelegatingMixin:
    """Predictions of the estimator that is held.

    Subclasses name the parameter that gives it and the attribute that holds it once fitted.
    """

    _given, _fitted = "estimator", "estimator_"

    @available_if(held_has("predict_proba"))
    def predict_proba(self, X):
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes)
            Probabilities, in the order of `classes_`.
        """
        return self._delegate("predict_proba", X)

    @available_if(held_has("predict_log_proba"))
    def predict_log_proba(self, X):
        """Predict log-probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        log_P : ndarray of shape (n_samples, n_classes)
            Natural logarithms of the probabilities, in the order of `classes_`.
        """
        return self._delegate("predict_log_proba", X)

    @available_if(held_has("decision_function"))
    def decision_function(self, X):
        """Call the decision function of the fitted estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        decision : ndarray of shape (n_samples,) or (n_samples, n_classes)
            The values, in the order of `classes_`.
        """
        return self._delegate("decision_function", X)

    def _delegate(self, method, X, *args, **params):
        check_is_fitted(self)
        X = validate_rows(self, X, reset=False)
        return getattr(getattr(self, self._fitted), method)(X, *args, **params)

    def __sklearn_is_fitted__(self):
        return hasattr(self, self._fitted)
