"""What the regressor and the classifier for tables share: from a raw table to distinct rows."""

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from skal.models._rows import as_dense, checked_weight, distinct_rows
from skal.preprocessing import TablePreprocessor
from skal.utils._compat import HasMethods, Interval, _check_y
from skal.utils._tables import is_frame, take_rows
from skal.utils.validation import check_same_length, validate_rows


class TabularModel(BaseEstimator):
    """A stack of models over one preprocessing of the table."""

    _parameter_constraints: dict = {
        "preprocessor": [HasMethods(["fit", "transform"]), None],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def _prepare(self, X, y, sample_weight, *, y_numeric):
        """Validate, fit the preprocessing, and merge rows that occur several times.

        A repeated row and one of double weight then give the same model, and no row is held out
        while its double is learnt from.

        Returns
        -------
        Z : ndarray of shape (n_distinct, n_features_out), dtype float64
            Numbers that stand for the distinct rows, in an order of their own.

        y : ndarray of shape (n_distinct,)
            Their targets.

        weight : ndarray of shape (n_distinct,)
            Their weights, of mean 1.

        rng : RandomState
            For what is drawn in `fit`.
        """
        X, y = self._validate_training_data(X, y, y_numeric=y_numeric)
        weight = checked_weight(sample_weight, X)
        used = np.flatnonzero(weight)
        if len(used) < len(weight):
            X, y, weight = take_rows(X, used), y[used], weight[used]
        preprocessor = self._new_preprocessor()
        Z = as_dense(preprocessor.fit_transform(X))
        first, weight = distinct_rows(Z, y, weight)
        # Of the distinct rows: whether a row is repeated changes no mean and no scale.
        self.preprocessor_ = self._new_preprocessor().fit(take_rows(X, first))
        Z = as_dense(self.preprocessor_.transform(take_rows(X, first)))
        return Z, y[first], weight / weight.mean(), check_random_state(self.random_state)

    def _validate_training_data(self, X, y, *, y_numeric):
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        if not is_frame(X):
            return validate_data(
                self, X, y, dtype=None, ensure_all_finite=False, y_numeric=y_numeric
            )
        X = validate_rows(self, X, reset=True)
        y = _check_y(y, y_numeric=y_numeric, estimator=self)
        check_same_length(X, y)
        return X, y

    def _numbers(self, X):
        """Numbers that stand for rows to predict: float64 (n_samples, n_features_out)."""
        check_is_fitted(self)
        if is_frame(X):
            X = validate_rows(self, X, reset=False)
        else:
            X = validate_data(self, X, dtype=None, ensure_all_finite=False, reset=False)
        return as_dense(self.preprocessor_.transform(X))

    def _new_preprocessor(self):
        return TablePreprocessor() if self.preprocessor is None else clone(self.preprocessor)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(TablePreprocessor() if self.preprocessor is None else self.preprocessor)
        for name in ("allow_nan", "string", "categorical"):
            setattr(tags.input_tags, name, getattr(inner.input_tags, name))
        return tags
