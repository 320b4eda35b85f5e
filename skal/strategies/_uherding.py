"""UHerding: cover the rows that the model is unsure of."""

from numbers import Real

import torch

from skal.selection import KernelHerding
from skal.strategies._base import SelectingStrategy
from skal.strategies._measures import uncertainty
from skal.utils._compat import Interval, StrOptions
from skal.utils._rows import Rows
from skal.utils._tags import QueryStrategyTags


class UHerding(SelectingStrategy):
    r"""Query rows that cover those the model is unsure of.

    With unit vectors z of the inputs of the last layer and an uncertainty
    :math:`u_i \ge 0` of every row of the pool, each pick raises

    .. math:: \sum_i u_i \max_s \exp(-|z_i - z_s|^2 / h^2)

    most, the maximum being over labelled and picked rows. With few labels all rows are uncertain
    and it covers the pool; with many it asks about the boundary.

    Parameters
    ----------
    estimator : classifier or None, default=None
        A torch net with a linear output layer, or multinomial ``LogisticRegression``, however
        wrapped. None means the estimator of the learner the strategy is plugged into.

    measure : {"margin", "entropy", "least_confidence"}, default="margin"
        The uncertainty u: one minus the difference of the two largest class probabilities, their
        entropy in nats, or one minus the largest.

    bandwidth : float or "labeled", default=1.0
        The width h of the kernel, see :class:`~skal.selection.KernelHerding`.

    temperature : float or None, default=None
        Probabilities are the softmax of the logits divided by it. None is 1. The paper fits it on
        held-out rows.

    selector : BatchSelector or None, default=None
        Picks the batch; it is given u as scores. None is
        ``KernelHerding(bandwidth=bandwidth, weighted=True)``.

    device : str or None, default=None
        Where features and distances are computed ("cpu", "cuda:1"). None is the device of the net,
        and the CPU for inputs.

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

    See Also
    --------
    MaxHerding : Coverage alone, for every estimator and before any label is known.
    MarginSampling : Uncertainty alone.

    Notes
    -----
    `transform` gives the features; ``query(return_scores=True)`` the gains before the first pick.
    Cost: a pass of the model over pool and labelled rows, and O(n_pool^2 d) for the coverage; see
    :class:`~skal.selection.KernelHerding`.

    References
    ----------
    W. Bae, D. J. Sutherland and G. Oliveira (2025). Uncertainty herding: one active learning method
    for all label budgets. ICLR, arXiv:2412.20644, equation (4).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.strategies import UHerding
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = UHerding(LogisticRegression(max_iter=500), random_state=0)
    >>> strategy.fit(X[::10], y[::10]).query(X, n_instances=5).shape
    (5,)
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        "measure": [StrOptions({"margin", "entropy", "least_confidence"})],
        "bandwidth": [Interval(Real, 0, None, closed="neither"), StrOptions({"labeled"})],
        "temperature": [Interval(Real, 0, None, closed="neither"), None],
    }
    _query_tags = QueryStrategyTags(
        needs=("probabilities", "features"),
        tasks=("classifier",),
        conditioned_on_labeled=True,
        deterministic=True,
    )

    def __init__(
        self,
        estimator=None,
        *,
        measure="margin",
        bandwidth=1.0,
        temperature=None,
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.measure = measure
        self.bandwidth = bandwidth
        self.temperature = temperature

    @property
    def _default_selector(self):
        return KernelHerding(bandwidth=self.bandwidth, weighted=True)

    def _represent(self, X):
        return Rows(self.view.last_layer(X)[0])

    def _representation(self, X):
        """Features, and how unsure the model is of each row."""
        H, log_P = self.view.last_layer(X)
        P = torch.softmax(log_P / (self.temperature or 1.0), 1)
        return self._checked(H), uncertainty(P, self.measure).cpu().numpy()
