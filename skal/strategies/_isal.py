"""ISAL: rows whose predicted label would lower the loss on rows that are labelled."""

from numbers import Real

from skal.selection import TopK
from skal.strategies._base import SelectingStrategy
from skal.utils._compat import Interval, StrOptions
from skal.utils._rows import full_precision
from skal.utils._tags import QueryStrategyTags
from skal.utils.validation import check_same_length
from skal.views._influence import LastLayerInfluence, penalty, residuals_of
from skal.views._last_layer import apply_layer, layer_gradient, with_constant
from skal.views._layer_curvature import directional_losses


class ISAL(SelectingStrategy):
    r"""Query rows that would lower the loss on a labelled reference set, if predicted right.

    With the reference rows R, the gradient g of the cross-entropy in the weights of the last layer,
    the Hessian A of the training loss plus weight decay and damping, and the predicted class as the
    label of a pool row, the score is

    .. math:: s^\top g(x, \hat y), \qquad s = A^{-1} \frac{1}{|R|} \sum_{j \in R} g(x_j, y_j),

    in proportion to by how much training on the row would lower the loss on R. The rows with the
    largest are asked, one by one: nothing keeps a batch from being alike.

    Parameters
    ----------
    estimator : estimator or None, default=None
        A torch net with a linear output layer or multinomial ``LogisticRegression``, however
        wrapped. None means the estimator of the learner the strategy is plugged into.

    reference : "labeled" or tuple (X_val, y_val), default="labeled"
        The reference set: the labelled rows, or rows held out for this. Never the rows that the
        model is tested on: the strategy looks at their labels.

    damping : float, default=0.01
        Added to the diagonal of A.

    weight_decay : float or None, default=None
        Added to the diagonal of A, too. None takes that of the net's optimiser, or 1e-4 where it
        has none, and 1 / (C m) for ``LogisticRegression``, without the bias.

    selector : BatchSelector or None, default=None
        Picks the batch from the scores. None is ``TopK()``.

    device : str or None, default=None
        Where the numerics run ("cpu", "cuda:1"), in float64. None is the device of the net.

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
        From `fit`, for regressors, and where the reference has no labels.

    See Also
    --------
    RALIF : The pool as the reference, and diverse batches.
    skal.inspection.influence : Influence of the rows that are labelled already.

    Notes
    -----
    With ``reference="labeled"`` and a model at the minimum of its loss, the gradient over the
    labelled rows is that of the penalty alone, and with no penalty 0: held-out rows say more. The
    published code takes the test set for R, which no honest comparison can; it solves by
    stochastic iteration with a scale of 10,000, near to A = 1, and in all weights. Here the system
    is solved to a residual of 1e-10, for the last layer.

    Cost: one pass of the model over the pool, O(n_pool K d), and once per training O(m K d) for
    each step of conjugate gradients.

    References
    ----------
    Z. Liu, H. Ding, H. Zhong, W. Li, J. Dai and C. He (2021). Influence selection for active
    learning. ICCV, arXiv:2108.09331.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.strategies import ISAL
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = ISAL(LogisticRegression(max_iter=500), reference=(X[1::10], y[1::10]))
    >>> strategy.fit(X[::10], y[::10]).query(X, n_instances=3).shape
    (3,)
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        "reference": [StrOptions({"labeled"}), tuple, list],
        "damping": [Interval(Real, 0, None, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left"), None],
    }
    _query_tags = QueryStrategyTags(
        needs=("probabilities", "features", "gradients"),
        tasks=("classifier",),
        conditioned_on_labeled=True,
        deterministic=True,
    )
    _default_selector = TopK()

    def __init__(
        self,
        estimator=None,
        *,
        reference="labeled",
        damping=0.01,
        weight_decay=None,
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.reference = reference
        self.damping = damping
        self.weight_decay = weight_decay

    def _represent(self, X):
        H, log_P = self.view.last_layer(X, exact=True)
        with full_precision():
            U = apply_layer(H, self._direction.to(log_P.device))
            scores = directional_losses(log_P.exp(), U)
        return scores.gather(1, log_P.argmax(1, keepdim=True)).ravel()

    def _fit_labeled(self, X, y):
        X_ref, y_ref = self._reference_set(X, y)
        with full_precision():
            H, log_P = self.view.last_layer(X, exact=True)
            decay = penalty(self.weight_decay, self.estimator_, len(H), log_P.shape[1])
            H = with_constant(H, log_P.dtype, float(self.view.has_bias))
            owner, damping = type(self).__name__, float(self.damping)
            influence = LastLayerInfluence(H, log_P.exp(), decay, damping, owner)
            self._direction = influence.solve(self._mean_gradient(X_ref, y_ref))
        self._rows_labeled = None

    def _reference_set(self, X, y):
        owner = type(self).__name__
        if isinstance(self.reference, str):
            if y is None:
                raise ValueError(f"{owner}(reference='labeled') needs the labels: fit(X, y).")
            return X, y
        if len(self.reference) != 2:
            raise ValueError(
                f"'reference' of {owner} must be 'labeled' or a pair (X_val, y_val). Got "
                f"{len(self.reference)} objects instead."
            )
        check_same_length(*self.reference, "y_val")
        return self.reference

    def _mean_gradient(self, X, y):
        """Mean gradient (K, d + 1) of the loss of labelled rows."""
        H, log_P = self.view.last_layer(X, exact=True)
        R = residuals_of(y, log_P.exp(), self.estimator_.classes_, type(self).__name__)
        return layer_gradient(R, H, float(self.view.has_bias)) / len(R)
