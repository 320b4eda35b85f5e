"""BAIT: the batch that lowers the expected error of the last layer over the pool most."""

from numbers import Real

import numpy as np
import torch
from sklearn.utils import get_tags

from skal.selection._engines.fisher import fisher_factors, fisher_greedy
from skal.strategies._base import QueryStrategy
from skal.utils._compat import Interval
from skal.utils._rows import Rows
from skal.utils._tags import QueryStrategyTags
from skal.views._last_layer import with_constant

_MAX_PARAMETERS = 5000
_MAX_BYTES = 4 * 2**30


class BAIT(QueryStrategy):
    r"""Query the batch whose Fisher information best covers that of the whole pool.

    With features :math:`h` of the last layer and class probabilities :math:`p`, a row has the
    Fisher information

    .. math:: I(x) = (\operatorname{diag}(p) - p p^\top) \otimes h h^\top , \qquad
        \text{or } h h^\top \text{ for regression with squared loss,}

    in the weights of the last layer. The batch S of b rows is chosen to make

    .. math:: \operatorname{tr}\Big[ \Big( \lambda 1 + \frac{m}{m + b} \bar I_{labeled} +
        \frac{b}{m + b} \sum_{x \in S} I(x) \Big)^{-1} \bar I_{all} \Big]

    small, m being the number of labelled rows, :math:`\bar I_{labeled}` their mean information and
    :math:`\bar I_{all}` that of labelled rows and pool: forward, rows are added one by one, each
    time the one that lowers the trace most; then they are removed one by one, each time the one
    that raises it least, until b are left.

    Parameters
    ----------
    estimator : estimator or None, default=None
        A torch net with a linear output layer, multinomial ``LogisticRegression`` or a linear
        regression such as ``Ridge``, however wrapped. None means the estimator of the learner the
        strategy is plugged into.

    regularization : float, default=1.0
        :math:`\lambda > 0`, in the squared units of the features. Small values trust the labelled
        rows more and look for directions that they leave out; the paper uses 1, and 0.01 for
        CIFAR-10.

    oversample : float, default=2.0
        At least 1: `oversample` times b rows, rounded down, are added before all but b are
        removed. 1 removes none, in less than half the time.

    bias : bool, default=False
        Whether the bias of the last layer counts as a weight: h is then followed by a 1. The
        authors' code leaves it out.

    device : str or None, default=None
        Where everything is computed ("cpu", "cuda:1"), in float64. None is the device of the net.

    random_state : int, RandomState or None, default=None
        Seeds the breaking of ties.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator that is read.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    Raises
    ------
    TypeError
        If the estimator has no linear last layer.
    ValueError
        If (C - 1) d, or d for regression, exceeds 5000: matrices of this width are inverted. From
        `query`, if `regularization` is too small for features of this length.

    See Also
    --------
    BADGE : Cheaper, for any number of classes.
    skal.selection.MaxDet : The determinant in place of the trace, for any representation.

    Notes
    -----
    The batch depends on the pool as a whole and on each row's information, which is a matrix:
    `query` therefore does not go through a selector. The scores it returns are the amounts by which
    each row alone lowers the trace. `transform` gives the square root of the diagonal of I(x) with
    the signs of h, :math:`\sqrt{p_c (1 - p_c)}\, h_j` in column :math:`c d + j` (h itself for
    regression): the squares of a row sum to the trace of its information.

    Nothing of the size n_pool (C d)^2 is built. Directions that change all logits alike carry no
    information, so K = C - 1 instead of C blocks are kept (1 for regression, for any number of
    outputs). Every row keeps two K x K matrices, which a pick changes by two products of n_pool x d
    and d x K^2; inverses are computed afresh every 100 updates. Cost in float64: O((K d)^3 + n_pool
    K^2 d^2) once and per 100 picks, O(n_pool K^2 (d + K) + K^3 d^2) per row added, memory
    O((K d)^2 + n_pool K^2). Gains that agree to 11 digits tie.

    With two classes the information is that of a softmax with two outputs, twice that of the
    logistic function.

    References
    ----------
    J. T. Ash, S. Goel, A. Krishnamurthy and S. Kakade (2021). Gone fishing: neural active learning
    with Fisher embeddings. NeurIPS, arXiv:2106.09675, Algorithm 1; the weights m/(m + b) and
    b/(m + b) are those of the authors' code.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.strategies import BAIT
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = BAIT(LogisticRegression(max_iter=500), random_state=0).fit(X[::10], y[::10])
    >>> strategy.query(X, n_instances=5).shape
    (5,)
    """

    _parameter_constraints = {
        **QueryStrategy._parameter_constraints,
        "regularization": [Interval(Real, 0, None, closed="neither")],
        "oversample": [Interval(Real, 1, None, closed="left")],
        "bias": ["boolean"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        regularization=1.0,
        oversample=2.0,
        bias=False,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, device=device, random_state=random_state)
        self.regularization = regularization
        self.oversample = oversample
        self.bias = bias

    def _choose(self, X, n_instances, seed, return_scores):
        return fisher_greedy(
            self._fisher(X),
            self._fisher_labeled,
            n_instances,
            np.random.RandomState(seed),
            regularization=float(self.regularization),
            oversample=float(self.oversample),
        )

    def _fit_labeled(self, X, y):
        self._fisher_labeled = self._fisher(X)

    def _represent(self, X):
        H, P = self._last_layer(X)
        return Rows(H) if P is None else Rows(H, (P * (1.0 - P)).sqrt())

    def _last_layer(self, X):
        """Features (n, d), and class probabilities (n, C) or None for regression."""
        if get_tags(self.estimator_).estimator_type == "regressor":
            H, P = self.view.regression_features(X), None
        else:
            H, log_P = self.view.last_layer(X, exact=True)
            P = log_P.exp()
        return (with_constant(H) if self.bias else H), P

    def _fisher(self, X):
        """Features (n, d) and factors (n, K, K) of the rows' information, in float64."""
        H, P = self._last_layer(X)
        K = 1 if P is None else P.shape[1] - 1
        self._check_size(len(H), K, H.shape[1])
        H = H.double()
        if P is None:
            return H, torch.ones((len(H), 1, 1), dtype=H.dtype, device=H.device)
        return H, fisher_factors(P)

    def _check_size(self, n, K, d):
        if K * d > _MAX_PARAMETERS:
            factors = f"{K} x {d} = {K * d}" if K > 1 else f"{d}"
            raise ValueError(
                "BAIT inverts matrices as wide as the last layer has independent weights, (number "
                f"of classes - 1) x features, and serves at most {_MAX_PARAMETERS}. Got {factors} "
                "instead. Use BADGE or CoreSet, a net with a narrower last hidden layer, or PCA in "
                "front of a linear model."
            )
        if 24 * n * K * K > _MAX_BYTES:
            raise ValueError(
                f"BAIT keeps three {K} x {K} matrices for each of the {n} rows, "
                f"{24 * n * K * K} bytes, more than {_MAX_BYTES}. Query a random part of the pool, "
                "or use BADGE."
            )

    _query_tags = QueryStrategyTags(
        needs=("features", "gradients"), conditioned_on_labeled=True, deterministic=True
    )
