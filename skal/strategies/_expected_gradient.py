"""Expected gradient length: the rows whose label, whatever it is, would change the model most."""

from collections.abc import Mapping
from numbers import Integral

import numpy as np
import torch
from sklearn.ensemble import BaseEnsemble, VotingRegressor
from sklearn.utils import get_tags

from skal.strategies._base import SelectingStrategy
from skal.utils._compat import Interval, StrOptions
from skal.utils._nesting import describe, predictor_inputs, unwrap
from skal.utils._rows import as_rows
from skal.utils._tables import is_frame
from skal.utils._tags import QueryStrategyTags
from skal.views import NetView, has_net
from skal.views._checks import numeric_rows
from skal.views._committee import columns_seen, committee_members
from skal.views._last_layer import is_linear_regressor
from skal.views._probabilities import log_probabilities

_JACOBIAN_NUMBERS = 2**24  # of per-row Jacobians in memory at a time


class ExpectedGradientLength(SelectingStrategy):
    r"""Query the rows whose label would change the model most, in expectation.

    For classification the score of a row is the expected length of the gradient of the
    cross-entropy that its label would cause,

    .. math:: s(x) = \sum_y p_y \, \lVert \nabla_\theta \, {-\ln p_y} \rVert_2 ,

    under the model's own probabilities p. For the last layer this is
    :math:`\sum_y p_y \lVert p - e_y \rVert_2 \, \lVert h' \rVert_2`, h' being its input, followed
    by a 1 for the bias. For regression the label is unknown in size, and the predictions
    :math:`f_t` of a committee of T members stand for it (expected model change),

    .. math:: s(x) = \frac{1}{T} \sum_t \lvert f(x) - f_t(x) \rvert \, \lVert h'_t \rVert_2 .

    Parameters
    ----------
    estimator : estimator or None, default=None
        For classification, a torch net with a linear output layer or multinomial
        ``LogisticRegression``. For regression, a bagging or voting ensemble of linear regressions
        or nets, such as ``BaggingRegressor(Ridge())``. However wrapped. None means the estimator
        of the learner the strategy is plugged into.

    scope : {"last_layer", "all"}, default="last_layer"
        Whose gradient: that of the last layer, in closed form, or that of all trainable parameters
        of a net, by automatic differentiation; for classification only. A logistic regression is
        its last layer.

    squared : bool, default=False
        Whether lengths are squared before they are averaged: the trace of the Fisher information.

    top_k : int or None, default=None
        Look at the so many most likely labels only, with their probabilities made to sum to 1.
        None, or more than there are, means all labels. For classification only.

    bias : bool, default=True
        Whether the gradient of the last layer includes its bias. With ``scope="all"``, all
        parameters that the net has count, and this is not looked at.

    selector : BatchSelector or None, default=None
        Picks the batch from the scores. None is :class:`~skal.selection.TopK`: the largest scores,
        ties broken at random.

    device : str or None, default=None
        Where nets are evaluated ("cpu", "cuda:1"). None is the device of the net.

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
        If the estimator has no linear last layer, or a regressor is no such ensemble.
    ValueError
        If `top_k` or ``scope="all"`` is set for a regressor.

    See Also
    --------
    BADGE : A diverse batch of rows with long gradients.
    QueryByCommittee : The disagreement of a committee alone.

    Notes
    -----
    Scores are in units of the loss per unit of weight (for regression, of the target the members
    see times the features), squared with ``squared=True``. For the last layer they are proportional
    to the length of the features, and often dominated by it: standardise inputs. They are
    never less than the length of BADGE's embedding. With two classes the score is
    :math:`2 \sqrt 2\, p (1 - p) \lVert h' \rVert`, and ``squared=True`` gives
    :math:`(1 - \sum_c p_c^2) \lVert h' \rVert^2` for any number of them. The batch is not diverse.

    Cost: one pass of the model over the pool and O(n_pool (C + d)). ``scope="all"`` computes the
    Jacobian of the C outputs row by row: C backward passes and C numbers per parameter for each
    row, of which at most 64 MiB are in memory at a time. In a committee of nets, h'_t are the
    features of the member; f is the prediction of the ensemble.

    References
    ----------
    B. Settles, M. Craven and S. Ray (2007). Multiple-instance active learning. NIPS.

    W. Cai, Y. Zhang and J. Zhou (2013). Maximizing expected model change for active learning in
    regression. ICDM, doi:10.1109/ICDM.2013.104.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.strategies import ExpectedGradientLength
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = ExpectedGradientLength(LogisticRegression(max_iter=500), random_state=0)
    >>> rows = strategy.fit(X[::10], y[::10]).query(X, n_instances=5)
    >>> sorted(set(y[rows].tolist()))
    [1, 2]
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        "scope": [StrOptions({"last_layer", "all"})],
        "squared": ["boolean"],
        "top_k": [Interval(Integral, 1, None, closed="left"), None],
        "bias": ["boolean"],
    }
    _query_tags = QueryStrategyTags(needs=("features", "gradients"), deterministic=True)

    def __init__(
        self,
        estimator=None,
        *,
        scope="last_layer",
        squared=False,
        top_k=None,
        bias=True,
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.scope = scope
        self.squared = squared
        self.top_k = top_k
        self.bias = bias

    def _represent(self, X):
        if get_tags(self.estimator_).estimator_type == "regressor":
            return self._committee_score(X)
        if self.scope == "all" and has_net(self.estimator_):
            P, sq_lengths = _sq_lengths_of_all(self.view.net, X, type(self).__name__)
        else:
            H, log_P = self.view.last_layer(X, exact=True)
            P = log_P.exp()
            sq_lengths = sq_residuals(P) * self._sq_norms(H)[:, None]
        if self.top_k is not None:
            P, labels = P.topk(min(self.top_k, P.shape[1]), dim=1)
            P = P / P.sum(1, keepdim=True)
            sq_lengths = sq_lengths.gather(1, labels)
        return (P * (sq_lengths if self.squared else sq_lengths.sqrt())).sum(1)

    def _sq_norms(self, H):
        """|h'|^2 of features: float64 tensor (n,) on the device of the features."""
        rows = as_rows(H)
        sq_norms = rows.sq_norms(f"The features seen by {type(self).__name__}")
        return torch.tensor(sq_norms + float(self.bias), device=rows.device)

    def _committee_score(self, X):
        """Mean of |f - f_t| |h_t'| over the members: ndarray (n,), float64."""
        if self.scope == "all" or self.top_k is not None:
            raise ValueError(
                "scope='all' and top_k of ExpectedGradientLength serve classification. Got "
                f"scope={self.scope!r} and top_k={self.top_k} with a regressor instead. Use "
                "scope='last_layer' and top_k=None."
            )
        ensemble = unwrap(self.estimator_)
        members = self._committee(ensemble)
        X = predictor_inputs(self.estimator_, X)
        together = _as_table(ensemble.predict(X))
        if is_frame(X) and not isinstance(ensemble, VotingRegressor):
            X = np.asarray(X)  # bagging hands its members bare arrays
        scores = np.zeros(len(together))
        for member, columns in members:
            inputs = columns_seen(X, columns)
            sq_change = ((together - _as_table(member.predict(inputs))) ** 2).sum(1)
            sq_change *= self._member_sq_norms(member, inputs)
            scores += sq_change if self.squared else np.sqrt(sq_change)
        return scores / len(members)

    def _member_sq_norms(self, member, X):
        if has_net(member):
            owner = type(self).__name__
            H = NetView(member, device=self.device, needed_by=owner).features(X)
        else:
            H = numeric_rows(predictor_inputs(member, X), torch.device("cpu"), type(self).__name__)
        return self._sq_norms(H).cpu().numpy()

    def _committee(self, ensemble):
        """The fitted members and their columns, or say what would work."""
        try:
            known = isinstance(ensemble, (BaseEnsemble, VotingRegressor))
            members = (
                committee_members(ensemble, self.estimator_, type(self).__name__) if known else []
            )
        except ValueError:  # stages of boosting
            members = []
        if len(members) and all(has_net(m) or is_linear_regressor(m) for m, _ in members):
            return members
        raise TypeError(
            "For regression, ExpectedGradientLength needs a committee whose members are linear "
            f"regressions or torch nets, but found {describe(self.estimator_)}. Use for instance "
            "BaggingRegressor(Ridge()) or BaggingRegressor(NeuralNetRegressor()); for other "
            "committees QueryByCommittee, for a single model CoreSet, TypiClust or BAIT."
        )


def sq_residuals(P):
    """Squared length of p - e_y for every label y.

    Parameters
    ----------
    P : tensor of shape (n, C), dtype float64
        Class probabilities.

    Returns
    -------
    sq_residuals : tensor of shape (n, C), dtype float64
        (1 - p_y)^2 plus the squares of the others.
    """
    top = P.argmax(1, keepdim=True)
    without_top = P.scatter(1, top, 0.0)
    # Sums over the other classes where 1 - p_y would cancel: at the most likely class.
    others = (1.0 - P).scatter(1, top, without_top.sum(1, keepdim=True))
    squares = P.square()
    rest = squares.sum(1, keepdim=True) - squares
    rest = rest.scatter(1, top, without_top.square().sum(1, keepdim=True))
    return others.square() + rest


def _sq_lengths_of_all(view, X, owner):
    """Probabilities and squared gradient lengths of every label: float64 tensors (n, C).

    The gradient for label y is J' r_y: J is the Jacobian of the outputs in the parameters, and r_y
    the gradient of -ln p_y in the outputs. Its squared length needs J J' only.
    """
    parameters = {
        name: value.detach()
        for name, value in view.module.named_parameters()
        if value.requires_grad
    }
    n_numbers = view.n_outputs * sum(value.numel() for value in parameters.values())
    at_a_time = max(1, _JACOBIAN_NUMBERS // max(1, n_numbers))

    def outputs(parameters, row):
        row = {k: v[None] for k, v in row.items()} if isinstance(row, Mapping) else row[None]
        return view.functional(parameters, row)[0]

    def gram(row):
        jacobian = torch.func.jacrev(outputs)(parameters, row)
        parts = [part.flatten(1) for part in jacobian.values()]
        return sum(part @ part.T for part in parts)

    grams = view.map(torch.func.vmap(gram, chunk_size=at_a_time), X).double()
    with torch.enable_grad():
        Z = view.outputs(X).double().requires_grad_()
        log_P = log_probabilities(view.net, Z, None, owner)
        labels = range(log_P.shape[1])
        R = [torch.autograd.grad(-log_P[:, y].sum(), Z, retain_graph=True)[0] for y in labels]
    R = torch.stack(R, dim=1)
    return log_P.detach().exp(), ((R @ grams) * R).sum(2).clamp_min(0.0)


def _as_table(y):
    y = np.asarray(y, dtype=np.float64)
    return y.reshape(len(y), -1)
