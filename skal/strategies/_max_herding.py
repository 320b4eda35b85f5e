"""MaxHerding: cover the pool in a kernel, so that every row is similar to a labelled one."""

from numbers import Real

from skal.selection import KernelHerding
from skal.strategies._spatial import SpatialStrategy
from skal.utils._compat import Interval, StrOptions


class MaxHerding(SpatialStrategy):
    r"""Query the rows that cover the pool best: most rows should be similar to a labelled one.

    With unit vectors z of features or inputs and :math:`k(z, z') = \exp(-|z - z'|^2 / h^2)`, each
    pick raises :math:`\sum_i \max_s k(z_i, z_s)` most, the maximum being over labelled and picked
    rows. Unlike :class:`CoreSet`, which looks at the row farthest away, it goes where many rows
    are.

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

    bandwidth : float or "labeled", default=1.0
        The width h of the kernel, see :class:`~skal.selection.KernelHerding`.

    selector : BatchSelector or None, default=None
        Picks the batch. None is :class:`~skal.selection.KernelHerding` with `bandwidth`; inputs are
        centred on the mean of the pool first.

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
    UHerding : The same, for the rows that the model is unsure of.
    ProbCover : Balls in place of a kernel.

    Notes
    -----
    Strong at small budgets, whatever the estimator; with many labels, uncertainty overtakes it.
    Cost: a pass of the model over pool and labelled rows, and O(n_pool^2 d) for the coverage; see
    :class:`~skal.selection.KernelHerding`.

    References
    ----------
    W. Bae, J. Noh and D. J. Sutherland (2024). Generalized coverage for more robust low-budget
    active learning. ECCV, arXiv:2407.12212, algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skal.strategies import MaxHerding
    >>> X, y = load_iris(return_X_y=True)
    >>> strategy = MaxHerding(space="inputs", random_state=0).fit(X[:1])
    >>> sorted(y[strategy.query(X, n_instances=2)].tolist())
    [1, 2]
    """

    _parameter_constraints = {
        **SpatialStrategy._parameter_constraints,
        "bandwidth": [Interval(Real, 0, None, closed="neither"), StrOptions({"labeled"})],
    }

    def __init__(
        self,
        estimator=None,
        *,
        space="auto",
        bandwidth=1.0,
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(
            estimator, space=space, selector=selector, device=device, random_state=random_state
        )
        self.bandwidth = bandwidth

    @property
    def _default_selector(self):
        return KernelHerding(bandwidth=self.bandwidth, center=self._space() == "inputs")
