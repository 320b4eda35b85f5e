"""GradNorm: the rows where the entropy of the prediction pulls hardest at the parameters.

    G(x) = sum_l | dH(p(x)) / d theta_l |            H = -sum_k p_k log p_k

In the last layer z = W h + b the derivative is an outer product: dH/dz_k = a_k with
a_k = -p_k (log p_k + H), so that |dH/dW| = |a| |h| and |dH/db| = |a|.
"""

import torch

from skal.strategies._base import SelectingStrategy
from skal.utils._compat import StrOptions
from skal.utils._tags import QueryStrategyTags
from skal.views import has_net
from skal.views._jacobian import RowJacobians
from skal.views._probabilities import log_probabilities, needs_logits


class GradNorm(SelectingStrategy):
    r"""Query the rows whose prediction's entropy has the longest gradient.

    The loss of a row without a label is replaced by the entropy
    :math:`H(p) = -\sum_k p_k \ln p_k` of its prediction, and the score is the length of its
    gradient,

    .. math:: G(x) = \sum_l \Big\lVert \frac{\partial H(p(x))}{\partial \theta_l} \Big\rVert_2 ,

    over the parameter tensors :math:`\theta_l` (weights and biases of each layer).

    Parameters
    ----------
    estimator : classifier or None, default=None
        A torch net or multinomial ``LogisticRegression``, however wrapped. None means the estimator
        of the learner the strategy is plugged into.

    params : {"all", "last"}, default="all"
        Whose gradient: that of all trainable parameters of the net, by automatic differentiation,
        or that of its last, linear layer, in closed form and much faster. A logistic regression is
        its last layer.

    norm : {"sum", "joint"}, default="sum"
        "sum" adds the lengths of the parameter tensors, "joint" takes the length of all numbers
        together, which is never more.

    selector : BatchSelector or None, default=None
        Picks the batch from the scores. None is :class:`~skal.selection.TopK`: the largest scores,
        ties broken at random.

    device : str or None, default=None
        Where nets are evaluated ("cpu", "cuda:1"). None is the device of the net.

    random_state : int, RandomState or None, default=None
        Seeds the breaking of ties.

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
        If the estimator is a regressor.

    See Also
    --------
    ExpectedGradientLength : The gradient of the loss instead, averaged over possible labels.
    EntropySampling : The entropy itself.

    Notes
    -----
    Scores are in nats per unit of parameter. **They do not grow with uncertainty**: the entropy has
    its maximum at the uniform prediction and its infimum at the certain one, the gradient is 0 at
    both, and the score is largest in between. Rows the model knows nothing about are left alone.
    Nor are they free of scale: a large input makes a long gradient. Standardise inputs.

    In the last layer, with input h and d entries in it,

    .. math:: a_k = -p_k (\ln p_k + H), \qquad
        G = \lVert a \rVert (\lVert h \rVert + 1) \ \text{("sum")}, \quad
        G = \lVert a \rVert \sqrt{\lVert h \rVert^2 + 1} \ \text{("joint")};

    the 1 is the bias, and is not there in layers without one. The expected loss
    :math:`\sum_k p_k \, (-\ln p_k)` of the authors' other scheme is the same function where p is
    differentiated too, and has no gradient where it is not: there is one scheme here.

    Nets are in evaluation mode: batch normalisation uses its running statistics, and the score of a
    row depends on no other row. With ``params="all"``, probabilities of a net that ends in a
    softmax or sigmoid are read in float32, and rows closer than 1e-7 to certainty score 0.

    Cost: ``params="last"`` one pass of the net over the pool and O(n_pool (C + d)). ``"all"`` a
    forward and a backward pass, in which linear layers come as factors, O(width) numbers per row;
    of other layers (convolutions, normalisations) the gradients of a chunk of rows are in memory,
    16 MiB at a time.

    References
    ----------
    T. Wang, X. Li, P. Yang, G. Hu, X. Zeng, S. Huang, C.-Z. Xu and M. Xu (2022). Boosting active
    learning via improving test performance. AAAI, arXiv:2112.05683.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.strategies import GradNorm
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = GradNorm(LogisticRegression(max_iter=500), random_state=0)
    >>> rows = strategy.fit(X[::10], y[::10]).query(X, n_instances=5)
    >>> sorted(set(y[rows].tolist()))
    [1, 2]
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        "params": [StrOptions({"all", "last"})],
        "norm": [StrOptions({"sum", "joint"})],
    }
    _query_tags = QueryStrategyTags(
        needs=("probabilities", "gradients"), tasks=("classifier",), deterministic=True
    )

    def __init__(
        self,
        estimator=None,
        *,
        params="all",
        norm="sum",
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.params = params
        self.norm = norm

    def _represent(self, X):
        if self.params == "all" and has_net(self.estimator_):
            lengths = self._lengths_of_all(X)
        else:
            lengths = self._lengths_of_last(X)
        return lengths.sum(1) if self.norm == "sum" else lengths.norm(dim=1)

    def _lengths_of_last(self, X):
        """Lengths for weight and, if there is one, bias of the last layer: tensor (n, 1 or 2)."""
        H, log_P, n_logits, bias = _last_layer_and_shape(self.view, X)
        # One logit: the other class has none of its own.
        a = entropy_gradient(log_P)[:, -n_logits:].norm(dim=1)
        weight = a * H.double().norm(dim=1)
        return torch.stack([weight, a] if bias else [weight], dim=1)

    def _lengths_of_all(self, X):
        """Lengths for each parameter tensor of the net: float64 tensor (n, n_tensors)."""
        view = self.view.net

        def entropy(outputs):
            return _entropy_of_outputs(view.net, outputs, type(self).__name__)[:, None]

        jacobians = RowJacobians(view, X, function=entropy)
        return jacobians.map(_lengths, 2 * len(jacobians.shapes))


def entropy_gradient(log_P):
    """Derivative of the entropy in the logits.

    Parameters
    ----------
    log_P : tensor of shape (n, n_classes), dtype float64
        Natural logarithms of the class probabilities.

    Returns
    -------
    A : tensor of shape (n, n_classes), dtype float64
        -p_k (log p_k + H); rows sum to 0.
    """
    log_P = log_P.clamp_min(torch.finfo(log_P.dtype).min)  # 0 log 0 is 0
    P = log_P.exp()
    terms = P * log_P
    return -terms + P * terms.sum(1, keepdim=True)


def _last_layer_and_shape(view, X):
    """Features, log-probabilities, number of logits and whether there is a bias."""
    H, log_P = view.last_layer(X, exact=True)
    if view.has_net:
        head = view.net.head
        return H, log_P, head.out_features, head.bias is not None
    return H, log_P, len(view.predictor.coef_), view.predictor.fit_intercept


def _entropy_of_outputs(net, outputs, owner):
    """Entropies (n,) in nats of what a net returns, float64 and differentiable."""
    outputs = outputs.double()
    if needs_logits(net):
        # Where float32 says 0 or 1 the derivative is 0, not 0 times infinity.
        limits = torch.finfo(torch.float64)
        outputs = outputs.clamp(limits.tiny, 1.0 - limits.eps)
    log_P = log_probabilities(net, outputs, None, owner)
    return -(log_P.exp() * log_P).sum(1)


def _lengths(parts):
    """Lengths of the gradients of a chunk of rows, one column per parameter tensor."""
    columns = []
    for part in parts.values():
        if part.matrix is None:
            columns.append(part.left.double().norm(dim=1) * part.right.double().norm(dim=1))
        else:
            columns.append(part.matrix.flatten(1).double().norm(dim=1))
    return torch.stack(columns, dim=1)
