"""CoreSet: cover the pool, so that every row has a labelled row near it."""

from skal.selection import KCenterGreedy
from skal.strategies._spatial import SpatialStrategy
from skal.utils._tags import QueryStrategyTags


class CoreSet(SpatialStrategy):
    r"""Query the rows farthest from every labelled row: greedy k-center.

    Each pick is the row whose distance to the nearest labelled or already picked row is largest,

    .. math:: i^* = \arg\max_i \min_{c} \lVert z_i - z_c \rVert_2 ,

    where z are the penultimate features of the net, or the inputs of the predictor.

    Parameters
    ----------
    estimator : estimator or None, default=None
        Any estimator, or a torch net. None means the estimator of the learner the strategy is
        plugged into.

    space : {"auto", "features", "inputs"} or transformer, default="auto"
        Where distances are measured. "features" are the inputs of the net's last linear layer.
        "inputs" are what the predictor sees, after the preprocessing steps in front of it: they
        serve any estimator, and work before any label is known. "auto" is "features" where the
        estimator is a fitted net and "inputs" elsewhere.
        Inputs with categories, text, dates or gaps go through a
        :class:`~skal.preprocessing.TablePreprocessor` fitted on the labelled rows (on the pool,
        before any label). A transformer gets the rows as they are, is cloned and fitted on the
        same; a ``FrozenEstimator`` of a fitted one is used as it is.

    selector : BatchSelector or None, default=None
        Picks the batch. None is :class:`~skal.selection.KCenterGreedy`, which starts with the row
        of largest norm when nothing is labelled.

    device : str or None, default=None
        Where features and distances are computed ("cpu", "cuda:1"). None is the device of the net,
        and the CPU for inputs.

    random_state : int, RandomState or None, default=None
        Seeds the breaking of ties.

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
    skal.selection.KCenterGreedy : The selector, with the cosine distance as an option.

    Notes
    -----
    The covering radius is at most twice the smallest possible for the batch size. Farthest-first
    traversal is drawn to outliers: on tables with heavy-tailed columns it can be worse than
    random, so standardise or clip the inputs first, and compare. Duplicates of labelled rows are
    chosen last. Cost: one pass of the model over pool and labelled rows, and
    O(n_pool (n_labeled + n_instances) d) for the distances in blocks, with O(n_pool) memory
    besides the features.

    References
    ----------
    O. Sener and S. Savarese (2018). Active learning for convolutional neural networks: a core-set
    approach. ICLR, arXiv:1708.00489, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.strategies import CoreSet
    >>> X = np.array([[0.0], [1.0], [10.0], [11.0], [30.0]])
    >>> strategy = CoreSet(space="inputs").fit(X[:1])
    >>> strategy.query(X, n_instances=2)
    array([4, 3])
    """

    _default_selector = KCenterGreedy()
    _query_tags = QueryStrategyTags(
        requires_fitted_estimator=False, conditioned_on_labeled=True, deterministic=True
    )
