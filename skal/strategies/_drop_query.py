"""DropQuery: rows whose class changes when features are dropped, one from each cluster."""

from numbers import Integral, Real

import torch

from skal.selection import KMeansCandidates
from skal.strategies._base import SelectingStrategy
from skal.utils._compat import Interval
from skal.utils._random import child_seed
from skal.utils._rows import Rows
from skal.utils._tags import QueryStrategyTags


class DropQuery(SelectingStrategy):
    r"""Query rows whose prediction changes when inputs of the last layer are dropped.

    In each of M passes a random share of the penultimate features is set to zero, the same for all
    rows, and the last layer applied to what is left. Candidates are the rows that more than half of
    the passes classify otherwise than the net does, or, where they are few, at least one pass; the
    batch is the candidate nearest to each of n centres of k-means on their unit features.

    Parameters
    ----------
    estimator : classifier or None, default=None
        A torch net with a linear output layer, or multinomial ``LogisticRegression``, however
        wrapped. None means the estimator of the learner the strategy is plugged into.

    n_passes : int, default=3
        M.

    dropout : float, default=0.75
        The chance of a feature to be dropped; the others are divided by one minus it.

    oversample : float, default=25.0
        Candidates are enough when there are so many times the rows to choose.

    selector : BatchSelector or None, default=None
        Picks the batch; it is given the number of passes that disagree as scores. None is
        :class:`~skal.selection.KMeansCandidates` with the levels M // 2 + 0.5, ..., 0.5.

    device : str or None, default=None
        Where features and distances are computed ("cpu", "cuda:1"). None is the device of the net,
        and the CPU for inputs.

    random_state : int, RandomState or None, default=None
        Seeds which features are dropped, k-means and what fills a batch.

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
    ALFAMix : Candidates by moving features towards labelled ones.
    VariationRatio : The same measure, for dropout layers of the net.

    Notes
    -----
    The net needs no dropout layer. `transform` gives the features. Cost: one pass of the model, M
    products with the last layer, and k-means on the candidates.

    References
    ----------
    S. R. Gupte, J. Aklilu, J. J. Nirschl and S. Yeung-Levy (2024). Revisiting active learning in
    the era of vision foundation models. TMLR, arXiv:2401.14555, section 4.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.strategies import DropQuery
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = DropQuery(LogisticRegression(max_iter=500), random_state=0)
    >>> strategy.fit(X[::10], y[::10]).query(X, n_instances=5).shape
    (5,)
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        "n_passes": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "oversample": [Interval(Real, 1, None, closed="left")],
    }
    _query_tags = QueryStrategyTags(needs=("probabilities", "features"), tasks=("classifier",))

    def __init__(
        self,
        estimator=None,
        *,
        n_passes=3,
        dropout=0.75,
        oversample=25.0,
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.n_passes = n_passes
        self.dropout = dropout
        self.oversample = oversample

    @property
    def _default_selector(self):
        levels = tuple(k + 0.5 for k in range(self.n_passes // 2, -1, -1))
        return KMeansCandidates(levels=levels, oversample=self.oversample)

    def _represent(self, X):
        return Rows(self.view.last_layer(X)[0])

    def _representation(self, X):
        """Features, and how many passes disagree with the net."""
        view = self.view
        H, log_P = view.last_layer(X)
        W, bias = (part.to(H) for part in view.head_weights())
        predicted = log_P.argmax(1)
        generator = torch.Generator().manual_seed(child_seed(self._seed, 2))
        disagree = torch.zeros(len(H), dtype=torch.float64, device=H.device)
        for _ in range(self.n_passes):
            kept = torch.rand(H.shape[1], generator=generator) >= self.dropout
            mask = kept.to(H) / (1.0 - self.dropout)
            # The mask goes to the weights: no second copy of the features.
            disagree += torch.addmm(bias, H, (W * mask).T).argmax(1) != predicted
        return self._checked(H), disagree.cpu().numpy()
