"""GreedySampling: rows unlike the labelled ones, in inputs, outputs or both, for regression.

    inputs   d(x, r) = |x - x_r|                   over labelled rows r
    outputs  d(x, r) = |f(x) - y_r|
    both     d(x, r) = |x - x_r| |f(x) - y_r|      the product, then the minimum over r

and the row whose min_r d(x, r) is largest; a chosen row joins with its prediction as its label.
"""

import numpy as np
from scipy.spatial.distance import cdist

from skal.strategies._base import QueryStrategy
from skal.utils._compat import StrOptions
from skal.utils._rows import Rows
from skal.utils._tables import n_rows
from skal.utils._tags import QueryStrategyTags

_NUMBERS = 2**21  # dissimilarities held at a time


class GreedySampling(QueryStrategy):
    r"""Query rows that differ most from every labelled row, in inputs, predictions or both.

    With the inputs x of the predictor, its prediction f(x) and the labels y, the dissimilarity of a
    row to a labelled row r is

    =========  =============================================
    `mode`     dissimilarity
    =========  =============================================
    "inputs"   :math:`|x - x_r|` (GSx)
    "outputs"  :math:`|f(x) - y_r|` (GSy)
    "both"     :math:`|x - x_r| \, |f(x) - y_r|` (iGS)
    =========  =============================================

    Its score is the smallest over all labelled rows, and the largest score is asked first; it joins
    the labelled rows with its prediction as label.

    Parameters
    ----------
    estimator : regressor or None, default=None
        Any regressor. None means the estimator of the learner the strategy is plugged into.

    mode : {"both", "inputs", "outputs"}, default="both"
        What is compared.

    device : str or None, default=None
        Where a net predicts. None is where it is.

    random_state : int, RandomState or None, default=None
        Seeds the breaking of ties.

    Attributes
    ----------
    estimator_ : regressor or None
        The fitted regressor that is read. None before any label is known.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    Raises
    ------
    ValueError
        If `fit` gets no labels where they are compared, or the estimator is a classifier.

    See Also
    --------
    CoreSet : The farthest row in the inputs, for nets in their features.

    Notes
    -----
    Put a scaler in front of the predictor: distances are those of its inputs. The scale of y does
    not matter. Outliers attract all three modes: measured on Ames Housing, "both" helps a kernel
    model and harms a linear one with more columns than labels, so compare with random sampling.
    Before any label is known, ``mode="inputs"`` starts with the row nearest to the mean of the
    pool. Several outputs are compared by their Euclidean distance, each divided by the standard
    deviation of its labels. `transform` gives inputs, and predictions where they count;
    ``query(return_scores=True)`` the scores before the first pick.

    Cost: O(n_pool (n_labeled + n_instances) d) time, O(n_pool) memory.

    References
    ----------
    D. Wu, C.-T. Lin and J. Huang (2019). Active learning for regression using greedy sampling.
    Information Sciences 474, arXiv:1808.04245, algorithms 1 to 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skal.strategies import GreedySampling
    >>> X = np.array([[0.0], [1.0], [2.0], [10.0]])
    >>> strategy = GreedySampling(LinearRegression(), mode="inputs").fit(X[:2], [0.0, 1.0])
    >>> strategy.query(X, n_instances=2)
    array([3, 2])
    """

    _parameter_constraints = {
        **QueryStrategy._parameter_constraints,
        "mode": [StrOptions({"both", "inputs", "outputs"})],
    }
    _query_tags = QueryStrategyTags(
        needs=("predictions", "labels"),
        tasks=("regressor",),
        conditioned_on_labeled=True,
        deterministic=True,
    )

    def __init__(self, estimator=None, *, mode="both", device=None, random_state=None):
        super().__init__(estimator, device=device, random_state=random_state)
        self.mode = mode

    _labels = _labeled_inputs = None

    def _fit_labeled(self, X, y):
        self._labeled_inputs = self._inputs(X)
        if self.mode == "inputs":
            return
        if y is None:
            raise ValueError(
                f"{type(self).__name__}(mode={self.mode!r}) needs the labels: fit(X, y)."
            )
        labels = _columns(y)
        self._spread = np.where(labels.std(0) > 0, labels.std(0), 1.0)
        self._labels = labels / self._spread

    def _forget_rows(self):
        super()._forget_rows()
        self._labels = self._labeled_inputs = None

    def _inputs(self, X):
        """What distances of inputs are measured in: float64 (n, d), or None if they are not."""
        if self.mode == "outputs":
            return None
        return self._checked(self.view.inputs(X)).gather(slice(None)).parts()[0].numpy()

    def _outputs(self, X):
        """Predictions in units of the spread of the labels: float64 (n, k), or None."""
        if self.mode == "inputs":
            return None
        predicted = _columns(self.estimator_.predict(X))
        bad = np.flatnonzero(~np.isfinite(predicted).all(1))
        if len(bad):
            raise ValueError(
                f"{type(self).__name__} got NaN or infinity from the regressor for {len(bad)} of "
                f"{len(predicted)} rows (first: {bad[:5].tolist()})."
            )
        return predicted / self._spread

    def _represent(self, X):
        parts = (self._inputs(X), self._outputs(X))
        return Rows(np.hstack([part for part in parts if part is not None]))

    def _choose(self, X, n_instances, seed, return_scores):
        rank = np.random.RandomState(seed).permutation(n_rows(X))
        inputs, outputs = self._inputs(X), self._outputs(X)
        cold = self.estimator_ is None and self._labeled_inputs is None
        if cold:
            scores = -cdist(inputs, inputs.mean(0, keepdims=True))[:, 0]
        else:
            scores = _smallest(inputs, outputs, self._labeled_inputs, self._labels)
        first, picks = scores.copy(), []
        while len(picks) < n_instances:
            picks.append(int(np.lexsort((rank, scores))[-1]))
            new = [None if part is None else part[picks[-1:]] for part in (inputs, outputs)]
            added = _smallest(inputs, outputs, *new)
            scores = added if cold and len(picks) == 1 else np.minimum(scores, added)
            scores[picks] = -np.inf
        return np.array(picks), first if return_scores else None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if self.mode == "inputs":
            tags.query_strategy_tags.needs = ()
            tags.query_strategy_tags.requires_fitted_estimator = False
        return tags


def _columns(values):
    """One column per output: float64 (n, k)."""
    values = np.asarray(values, dtype=np.float64)
    return values.reshape(len(values), -1)


def _smallest(inputs, outputs, other_inputs, other_outputs):
    """Smallest dissimilarity of every row to the others: ndarray (n,), float64."""
    spaces = [(inputs, other_inputs), (outputs, other_outputs)]
    spaces = [(rows, others) for rows, others in spaces if rows is not None]
    n, m = len(spaces[0][0]), len(spaces[0][1])
    smallest, step = np.empty(n), max(1, _NUMBERS // m)
    for a in range(0, n, step):
        products = 1.0
        for rows, others in spaces:
            products = products * cdist(rows[a : a + step], others)
        smallest[a : a + step] = products.min(1)
    return smallest
