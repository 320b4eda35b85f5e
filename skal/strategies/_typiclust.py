"""TypiClust: typical rows of the clusters that hold no label yet, for small budgets."""

from numbers import Integral

from skal.selection import TypicalClusters
from skal.strategies._spatial import SpatialStrategy
from skal.utils._compat import Interval


class TypiClust(SpatialStrategy):
    r"""Query typical rows of the largest clusters without a labelled row.

    Labelled rows and pool are clustered by k-means into as many clusters as there are labelled rows
    and rows to query. The largest cluster without a label gives the row that is closest, on
    average, to its K nearest neighbours in the cluster, then the second largest, and so on. Rows in
    the middle of dense regions teach most while labels are few; outliers are never asked about.

    Parameters
    ----------
    estimator : estimator or None, default=None
        Any estimator, or a torch net. None means the estimator of the learner the strategy is
        plugged into.

    space : {"auto", "features", "inputs"} or transformer, default="auto"
        Where rows are clustered. "features" are the inputs of the net's last linear layer.
        "inputs" are what the predictor sees, after the preprocessing steps in front of it: they
        serve any estimator, and work before any label is known. "auto" is "features" where the
        estimator is a fitted net and "inputs" elsewhere.
        Inputs with categories, text, dates or gaps go through a
        :class:`~skal.preprocessing.TablePreprocessor` fitted on the labelled rows (on the pool,
        before any label). A transformer gets the rows as they are, is cloned and fitted on the
        same; a ``FrozenEstimator`` of a fitted one is used as it is.

    n_neighbors : int, default=20
        K, of the default selector; fewer in smaller clusters.

    max_clusters : int, default=500
        Largest number of clusters, of the default selector.

    min_cluster_size : int, default=5
        Smaller clusters are left out as long as others have rows, by the default selector.

    selector : BatchSelector or None, default=None
        Picks the batch. None is :class:`~skal.selection.TypicalClusters` with the three parameters
        above; another selector brings its own and does not see them.

    device : str or None, default=None
        Where features are computed ("cpu", "cuda:1"). None is the device of the net. Clustering
        runs on the CPU.

    random_state : int, RandomState or None, default=None
        Seeds k-means and the breaking of ties.

    Attributes
    ----------
    estimator_ : estimator or None
        The fitted estimator that is read. None before any label is known.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    See Also
    --------
    skal.selection.TypicalClusters : The selector: the formula, and what happens to small clusters.
    CoreSet : The opposite choice, for large budgets.

    Notes
    -----
    Made for few labels. The authors cluster features learnt without labels; those of a net that was
    trained on a handful of labels say little, and ``space="inputs"`` is often the better choice on
    tables. Standardise the inputs: k-means and distances are in their units. A row labelled is not
    asked for again, but where clusters are broad its neighbours may be, in later batches.
    `transform` returns the features or inputs. Cost: one pass of the model over pool and labelled
    rows, k-means on a float32 copy of them, and distances within clusters; see the selector.

    References
    ----------
    G. Hacohen, A. Dekel and D. Weinshall (2022). Active learning on a budget: opposite strategies
    suit high and low budgets. ICML, arXiv:2202.02794, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_blobs
    >>> from skal.strategies import TypiClust
    >>> X, blob = make_blobs([20, 30, 40, 50], centers=None, cluster_std=0.3, random_state=1)
    >>> labeled = np.flatnonzero(blob == 3)[:1]
    >>> rows = TypiClust(random_state=0).fit(X[labeled]).query(X, n_instances=3)
    >>> blob[rows]  # the three blobs without a label, the largest first
    array([2, 1, 0])
    """

    _parameter_constraints = {
        **SpatialStrategy._parameter_constraints,
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "max_clusters": [Interval(Integral, 1, None, closed="left")],
        "min_cluster_size": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        estimator=None,
        *,
        space="auto",
        n_neighbors=20,
        max_clusters=500,
        min_cluster_size=5,
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(
            estimator, space=space, selector=selector, device=device, random_state=random_state
        )
        self.n_neighbors = n_neighbors
        self.max_clusters = max_clusters
        self.min_cluster_size = min_cluster_size

    @property
    def _default_selector(self):
        return TypicalClusters(
            n_neighbors=self.n_neighbors,
            max_clusters=self.max_clusters,
            min_cluster_size=self.min_cluster_size,
        )
