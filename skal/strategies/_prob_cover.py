"""ProbCover: the rows whose balls hold most rows that no labelled row is near to."""

from numbers import Real

from skal.selection import BallCover
from skal.strategies._spatial import SpatialStrategy
from skal.utils._compat import Interval, StrOptions

_N_CLUSTERS = 10  # that stand for classes where there are none


class ProbCover(SpatialStrategy):
    r"""Query the rows with most uncovered rows around them.

    Unit vectors of features or inputs cover those closer than `delta`. Each pick covers most rows
    that neither a labelled row nor a pick before it covers.

    Parameters
    ----------
    estimator : estimator or None, default=None
        Any estimator, or a torch net. None means the estimator of the learner the strategy is
        plugged into.

    space : {"auto", "features", "inputs"} or transformer, default="auto"
        Where distances are measured. "features" are the inputs of the net's last linear layer.
        "inputs" are what the predictor sees, after the preprocessing in front of it: they serve any
        estimator, and work before any label is known. "auto" is "features" where the estimator is
        a fitted net and "inputs" elsewhere.
        Inputs with categories, text, dates or gaps go through a
        :class:`~skal.preprocessing.TablePreprocessor` fitted on the labelled rows (on the pool,
        before any label). A transformer gets the rows as they are, is cloned and fitted on the
        same; a ``FrozenEstimator`` of a fitted one is used as it is.

    delta : float or "auto", default="auto"
        Radius of the balls, see :class:`~skal.selection.BallCover`. "auto" clusters the pool into
        as many clusters as there are classes, ten for regression, and takes the largest radius
        with which 95 % of the balls lie in one cluster.

    selector : BatchSelector or None, default=None
        Picks the batch. None is :class:`~skal.selection.BallCover` with `delta`.

    device : str or None, default=None
        Where features and distances are computed ("cpu", "cuda:1"). None is the device of the net,
        and the CPU for inputs.

    random_state : int, RandomState or None, default=None
        Seeds the clusters and the breaking of ties.

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
    MaxHerding : A kernel in place of balls, with no radius to find.

    Notes
    -----
    Meant for features that were learnt without labels, and few labels. Everything hangs on `delta`:
    too large, and a few picks cover all, after which picks go on as those of MaxHerding. Cost:
    O(n_pool^2 d) for the distances; memory for the pairs closer than `delta`.

    References
    ----------
    O. Yehuda, A. Dekel, G. Hacohen and D. Weinshall (2022). Active learning through a covering
    lens. NeurIPS, arXiv:2205.11320, algorithm 1 and section 3.3 (purity).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skal.strategies import ProbCover
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = ProbCover(space="inputs", random_state=0).fit(X[:1])
    >>> strategy.query(X, n_instances=3).shape
    (3,)
    """

    _parameter_constraints = {
        **SpatialStrategy._parameter_constraints,
        "delta": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
    }

    def __init__(
        self,
        estimator=None,
        *,
        space="auto",
        delta="auto",
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(
            estimator, space=space, selector=selector, device=device, random_state=random_state
        )
        self.delta = delta

    @property
    def _default_selector(self):
        classes = getattr(self.estimator_, "classes_", None)
        n_clusters = _N_CLUSTERS if classes is None else len(classes)
        return BallCover(delta=self.delta, n_clusters=n_clusters)
