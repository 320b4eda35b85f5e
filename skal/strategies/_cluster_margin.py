"""ClusterMargin: small margins, in turn from clusters of features."""

from numbers import Real

from skal.selection import ClusterRoundRobin
from skal.strategies._base import SelectingStrategy
from skal.strategies._measures import margin_scores
from skal.utils._compat import Interval
from skal.utils._rows import Rows
from skal.utils._tags import QueryStrategyTags


class ClusterMargin(SelectingStrategy):
    """Query rows of small margin from many clusters of features.

    The `factor` times n rows of smallest margin, the difference of the two largest class
    probabilities, are grouped by clusters of the pool's features, and clusters with few of them
    come first, one row each in turn.

    Parameters
    ----------
    estimator : classifier or None, default=None
        A torch net with a linear output layer, or multinomial ``LogisticRegression``, however
        wrapped. None means the estimator of the learner the strategy is plugged into.

    factor : float, default=2.0
        Rows of small margin that are looked at, for each row to choose. 1 is margin sampling. The
        paper takes 1.25, and 10 for batches of 100,000 and more; with small batches a large factor
        asks for outliers.

    cluster_size : float, default=10.0
        Mean number of rows in a cluster.

    selector : BatchSelector or None, default=None
        Picks the batch; it is given minus the margin as scores. None is
        ``ClusterRoundRobin(factor=factor, cluster_size=cluster_size)``.

    device : str or None, default=None
        Where features and distances are computed ("cpu", "cuda:1"). None is the device of the net,
        and the CPU for inputs.

    random_state : int, RandomState or None, default=None
        Seeds the draws within clusters and the breaking of ties.

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
    MarginSampling : Margins alone.
    BADGE : Diversity and uncertainty in one embedding.

    Notes
    -----
    The paper clusters the pool once; here it is clustered anew at every query, on the features of
    the model as it is then. `transform` gives the features. In our runs no better than margin
    sampling with batches of tens. Cost: O(n_pool^2) up to 10,000 rows; see
    :class:`~skal.selection.ClusterRoundRobin`.

    References
    ----------
    G. Citovsky, G. DeSalvo, C. Gentile, L. Karydas, A. Rajagopalan, A. Rostamizadeh and S. Kumar
    (2021). Batch active learning at scale. NeurIPS, arXiv:2107.14263, algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skal.strategies import ClusterMargin
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = ClusterMargin(LogisticRegression(max_iter=500), random_state=0)
    >>> strategy.fit(X[::10], y[::10]).query(X, n_instances=5).shape
    (5,)
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        "factor": [Interval(Real, 1, None, closed="left")],
        "cluster_size": [Interval(Real, 1, None, closed="left")],
    }
    _query_tags = QueryStrategyTags(needs=("probabilities", "features"), tasks=("classifier",))

    def __init__(
        self,
        estimator=None,
        *,
        factor=2.0,
        cluster_size=10.0,
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.factor = factor
        self.cluster_size = cluster_size

    @property
    def _default_selector(self):
        return ClusterRoundRobin(factor=self.factor, cluster_size=self.cluster_size)

    def _represent(self, X):
        return Rows(self.view.last_layer(X)[0])

    def _representation(self, X):
        """Features, and minus the margins."""
        H, log_P = self.view.last_layer(X)
        return self._checked(H), margin_scores(log_P.exp()).cpu().numpy()
