"""PredictiveStd: the rows of which a probabilistic regressor is least certain."""

import contextlib
from inspect import signature

import numpy as np
from sklearn.utils import gen_batches

from skal.strategies._base import SelectingStrategy
from skal.utils._nesting import class_name
from skal.utils._tables import is_polars, n_rows, take_rows
from skal.utils._tags import QueryStrategyTags

# Rows per call: a Gaussian process computes their covariances with every labelled row.
_ROWS = 4096


class PredictiveStd(SelectingStrategy):
    r"""Query the rows whose predicted standard deviation is largest.

    For regressors that say how sure they are, by ``predict(X, return_std=True)``:
    ``GaussianProcessRegressor``, ``BayesianRidge``, ``ARDRegression`` and those of other packages
    that keep to it. The score of a row is

    .. math:: s = \sqrt{\sum_k \sigma_k^2}

    over the outputs k, the predicted standard deviation itself where there is one.

    Parameters
    ----------
    estimator : regressor or None, default=None
        A regressor whose predictor has ``predict(X, return_std=True)``, however wrapped. None means
        the estimator of the learner the strategy is plugged into.

    selector : BatchSelector or None, default=None
        Picks the batch from the scores. None is :class:`~skal.selection.TopK`: the largest scores,
        ties broken at random.

    device : str or None, default=None
        Not used: the regressor computes.

    random_state : int, RandomState or None, default=None
        Seeds the breaking of ties.

    Attributes
    ----------
    estimator_ : regressor
        The fitted regressor that is read.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    Raises
    ------
    ValueError
        If the predictor at the end of the estimator predicts no standard deviation.

    See Also
    --------
    QueryByCommittee : For every other regressor, by an ensemble or by bootstraps.

    Notes
    -----
    Scores are in the units of the target that the predictor sees: the transformed one inside
    ``TransformedTargetRegressor``. With a fixed kernel, the standard deviation of a Gaussian
    process depends on where the labels are and not on what they are (MacKay, 1992): labels only
    count through the parameters of the kernel. The batch is not diverse. Cost: one prediction of
    the pool; for a Gaussian process O(n_pool n_labeled^2).

    References
    ----------
    D. J. C. MacKay (1992). Information-based objective functions for active data selection. Neural
    Computation 4(4).

    S. Seo, M. Wallat, T. Graepel and K. Obermayer (2000). Gaussian process regression: active data
    selection and test point rejection. IJCNN ("ALM").

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> from skal.strategies import PredictiveStd
    >>> X = np.array([[0.0], [1.0], [1.5], [4.0]])
    >>> strategy = PredictiveStd(GaussianProcessRegressor()).fit(X[:2], [0.0, 1.0])
    >>> strategy.query(X, n_instances=2)
    array([3, 2])
    """

    _query_tags = QueryStrategyTags(
        needs=("predictions",), tasks=("regressor",), deterministic=True
    )
    _instead = {"classifier": "MarginSampling"}

    def _represent(self, X):
        view = self.view
        predict = _predict_with_std(view.predictor, view.estimator)
        X = _numbers(view.predictor_inputs(X))
        n = n_rows(X)
        deviations = [
            np.asarray(predict(take_rows(X, np.arange(n)[rows]), return_std=True)[1])
            for rows in gen_batches(n, _ROWS)
        ]
        deviations = np.concatenate(deviations).reshape(n, -1).astype(np.float64)
        return np.linalg.norm(deviations, axis=1)


def _numbers(X):
    """Numbers of a container that arithmetic does not take as it is; others pass."""
    if is_polars(X):
        return X.to_pandas()  # which keeps the names of the columns
    if isinstance(X, np.ndarray) and X.dtype.kind == "O":
        with contextlib.suppress(TypeError, ValueError):  # the predictor says what is wrong
            return np.asarray(X, dtype=np.float64)
    return X


def _predict_with_std(predictor, estimator):
    """The `predict` of a predictor that takes `return_std`, or the error that says what would."""
    if "return_std" not in signature(predictor.predict).parameters:
        raise ValueError(
            f"PredictiveStd needs a regressor with predict(X, return_std=True) but found "
            f"{class_name(predictor)} in {class_name(estimator)}. Use GaussianProcessRegressor or "
            "BayesianRidge, or QueryByCommittee, which serves every regressor "
            "(n_bootstraps=10)."
        )
    return predictor.predict
