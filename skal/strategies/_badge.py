"""BADGE: a diverse batch of rows on which the last layer would change much.

The embedding of a row is the gradient of the cross-entropy at the predicted label in the weights of
the last layer, (p - e_y) x h. It is a Kronecker product of two short vectors and never built: the
selector works on the factors.
"""

from skal.selection import KMeansPlusPlus
from skal.strategies._base import SelectingStrategy
from skal.utils._rows import Rows
from skal.utils._tags import QueryStrategyTags
from skal.views._last_layer import with_constant


class BADGE(SelectingStrategy):
    r"""Query a diverse batch of rows with large last-layer gradients.

    With penultimate features :math:`h \in \mathbb{R}^d`, class probabilities :math:`p` and the
    predicted class :math:`\hat y = \arg\max_c p_c`, the embedding of a row is the gradient of the
    cross-entropy at the predicted label with respect to the weights of the last layer,

    .. math:: g = (p - e_{\hat y}) \otimes h \in \mathbb{R}^{C d}.

    The batch is drawn by k-means++ seeding: the first row has the longest gradient, each further
    row is drawn with probability proportional to its squared distance to the nearest row chosen.
    Long gradients mean that the model is unsure, distance that the batch is diverse.

    Parameters
    ----------
    estimator : classifier or None, default=None
        A torch net with a linear output layer, or multinomial ``LogisticRegression``, however
        wrapped. None means the estimator of the learner the strategy is plugged into.

    bias : bool, default=False
        Whether to include the gradient in the bias of the last layer: h is then followed by a 1.
        The paper and its code leave it out.

    selector : BatchSelector or None, default=None
        Picks the batch. None is ``KMeansPlusPlus(init="max_norm")``, as the authors' code;
        ``KMeansPlusPlus(init="random")`` is Algorithm 2 of the paper to the letter.

    device : str or None, default=None
        Where features and distances are computed ("cpu", "cuda:1"). None is the device of the net.

    random_state : int, RandomState or None, default=None
        Seeds the draws.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier that is read.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    Raises
    ------
    TypeError
        If the estimator has no linear last layer.
    ValueError
        From `fit`, for regressors: the squared loss has no gradient at its own prediction. From
        `transform`, where the dense embedding would not fit into memory.

    See Also
    --------
    MarginSampling : Uncertain rows, one by one.
    CoreSet : A diverse batch, whatever the model is sure of.

    Notes
    -----
    The norm of g is the smallest over all labels the row may have: a lower bound of the gradient
    that its true label will cause. `transform` returns the dense embedding, class after class:
    column :math:`c d + j` is :math:`(p_c - 1[c = \hat y])\, h_j`, the gradient itself (the
    authors' code has the opposite sign, with the same distances). It refuses to build more than
    4 GiB; `query` never builds it. Probabilities are computed in float64, and the entry of the
    predicted class as minus the sum of the others, which does not cancel where the model is sure.
    Where all gradients are zero the batch is drawn uniformly. Where something follows the last
    linear layer (a normalisation, a temperature), p - e is not the gradient in its output, which
    then comes from a backward pass.

    Cost: one pass of the net over the pool, then about O(n_pool n_instances (d + C)) in a few
    matrix products, with O(n_pool (d + C)) memory.

    References
    ----------
    J. T. Ash, C. Zhang, A. Krishnamurthy, J. Langford and A. Agarwal (2020). Deep batch active
    learning by diverse, uncertain gradient lower bounds. ICLR, arXiv:1906.03671, equation (1) and
    Algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.strategies import BADGE
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = BADGE(LogisticRegression(max_iter=500), random_state=0).fit(X[::10], y[::10])
    >>> strategy.transform(X).shape
    (150, 12)
    >>> strategy.query(X, n_instances=5).shape
    (5,)
    """

    _parameter_constraints = {**SelectingStrategy._parameter_constraints, "bias": ["boolean"]}
    _query_tags = QueryStrategyTags(
        needs=("probabilities", "features", "gradients"), tasks=("classifier",)
    )
    _default_selector = KMeansPlusPlus(init="max_norm")

    def __init__(
        self, estimator=None, *, bias=False, selector=None, device=None, random_state=None
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.bias = bias

    def _represent(self, X):
        H, A = self.view.last_layer_gradients(X)
        return Rows(with_constant(H) if self.bias else H, A)
