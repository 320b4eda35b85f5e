"""DeAn: rows drawn around important centroids, the closer the surer the model is.

    mean_i  = (1/T) sum_t p_t(i)                             T passes with dropout
    rho_i   = H(mean_i) - (1/T) sum_t H(p_t(i))              importance of a row, in bits (BALD)
    sigma   = mean over X_val of 1 - (share of passes that agree with the majority)
    beta    = f(sigma)                                       inf for a sure model, small otherwise

and the draws of AnnealedClusters with that beta, on the mean probabilities.
"""

import math
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import clone

from skal.selection import AnnealedClusters
from skal.strategies._measures import mutual_information, share_of_minority
from skal.strategies._posterior import PosteriorStrategy
from skal.utils._compat import Interval, StrOptions
from skal.utils._rows import Rows
from skal.utils._tables import n_rows
from skal.utils.validation import validate_rows

_OVERFLOWS = 500.0  # exp and powers of 4 of more than this are beyond float64, or nearly so
_SCHEDULES = {
    "exp": lambda sigma: math.expm1(1 / sigma),
    "pow4": lambda sigma: math.expm1(math.log(4) / sigma),
    "log": lambda sigma: -math.log(sigma),
    "exp0": lambda sigma: math.exp(1 / sigma) - math.e,
}


class DeAn(PosteriorStrategy):
    r"""Query batches by deterministic annealing, with a temperature set by the model's uncertainty.

    For noisy answers and models too weak to be trusted. The net is evaluated T times with dropout
    on. Rows are clustered by their mean class probabilities :math:`\bar p`; each cluster has the
    member of median importance for its centroid, importance being the mutual information (BALD)

    .. math:: \rho = H(\bar p) - \frac{1}{T} \sum_t H(p_t) .

    Each draw takes a centroid c in proportion to its importance, and then a row s not chosen yet
    with probability proportional to :math:`e^{-\beta d(c, s)}`, d being the square root of the
    Jensen-Shannon divergence of the mean probabilities. The inverse temperature :math:`\beta =
    f(\sigma)` falls with the uncertainty :math:`\sigma` of the model: an unsure model draws nearly
    uniformly, a sure one takes the centroids.

    Parameters
    ----------
    estimator : classifier or None, default=None
        A torch net with dropout layers, however wrapped, or an ensemble of independent classifiers,
        whose members stand for the passes. None means the estimator of the learner the strategy is
        plugged into.

    n_passes : int, default=100
        T, at least 2; without effect on an ensemble.

    n_clusters : int or None, default=None
        How many clusters; None is 5 times the batch.

    linkage : {"single", "average", "complete"}, default="single"
        Of the agglomerative clustering. Other than "single" needs the matrix of all distances.

    beta : {"exp", "pow4", "log", "exp0"}, float or callable, default="exp"
        Inverse temperature, as a function of :math:`\sigma` with the factor l, which is `scale`:
        "exp" is :math:`l (e^{1/\sigma} - 1)`, "pow4" :math:`l (4^{1/\sigma} - 1)`, "log"
        :math:`-l \log \sigma` and "exp0" :math:`l (e^{1/\sigma} - e)`. A number in [0, inf] does
        not look at :math:`\sigma`: 0 draws uniformly, inf takes what is nearest. A callable gets
        :math:`\sigma` and returns such a number.

    scale : float, default=0.25
        Factor l above; without effect on a number or a callable.

    max_candidates : int or None, default=None
        Where the pool has more rows, only as many, drawn at random, are clustered and chosen from;
        never fewer than the batch. The authors take 10,000 to 30,000.

    validation : {"labeled", "pool"} or array-like, default="labeled"
        The rows that :math:`\sigma` is taken of; labels are not needed. Best are rows the net was
        not trained on, of the kind it will see: give them as an array or frame. "pool" takes
        those of the pool, with twice the passes. "labeled" takes the labelled rows, which cost
        nothing, but the net knows them: :math:`\sigma` is then too small, and the draws closer to
        the centroids than intended.

    selector : BatchSelector or None, default=None
        Picks the batch. None is :class:`~skal.selection.AnnealedClusters` with the parameters
        above; another selector brings its own and does not see them.

    device : str or None, default=None
        Where the net is evaluated ("cpu", "cuda:1"). None is where it is. Clustering runs on the
        CPU.

    random_state : int, RandomState or None, default=None
        Seeds what is dropped, and all draws.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier that is read.

    sigma_ : float or None
        Uncertainty :math:`\sigma` of the model, in [0, 1 - 1/K] for K classes. None with
        ``validation="pool"``, where it is a matter of each query, or where `beta` is a number or
        `selector` is given, and it is not needed.

    beta_ : float or None
        Inverse temperature that follows. None where it depends on the pool or is not needed.

    n_features_in_ : int
        Number of columns seen in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names. Defined for frames whose column names are all strings.

    Raises
    ------
    ValueError
        If the estimator is a regressor, a net in which no dropout layer runs, or neither a net nor
        an ensemble.

    See Also
    --------
    skal.selection.AnnealedClusters : The draws.
    BADGE : Diverse uncertain rows, from one pass.

    Notes
    -----
    :math:`\sigma` is the mean variation ratio, one minus the share of passes that vote for the
    class with most votes. As distances are at most 1, draws with "exp" are nearly uniform from
    :math:`\sigma = 0.6` (:math:`\beta = 1.1`), and all but certain below 0.1 (:math:`\beta =
    5506`). With two classes :math:`\sigma \le 1/2` and there is no nearly uniform regime.
    :math:`\sigma = 0` is :math:`\beta = \infty`.

    A pass drops the same units in all rows, so that rows can be represented one by one; the
    expectations are those of independent passes. `transform` returns the mean probabilities, and
    ``query(return_scores=True)`` the importance in bits.

    Where text and code of the authors differ: five clusters per row of the batch (text), mean
    dropout probabilities and single linkage (code). Rows are drawn without replacement exactly,
    where the code draws again until it hits one that is left; candidates are distinct, where the
    code may ask for one row twice. "exp0" is 0 at :math:`\sigma = 1`, as the text wants of f and
    its own does not do; it is ours, and so are the choices of `validation` other than given rows.

    Cost: T passes of the net over the pool and, unless `beta` is a number, over the validation
    rows; clustering and draws as in the selector.

    References
    ----------
    G. Gupta, A. K. Sahu and W.-Y. Lin (2019). Noisy batch active learning with deterministic
    annealing. arXiv:1909.12473.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skal.neural_network import NeuralNetClassifier
    >>> from skal.strategies import DeAn
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NeuralNetClassifier(module__dropout=0.3, max_epochs=5, random_state=0)
    >>> strategy = DeAn(net, n_passes=10, validation=X[1::3], random_state=0).fit(X[::3], y[::3])
    >>> strategy.transform(X).shape  # mean probabilities of three classes
    (150, 3)
    >>> strategy.query(X, n_instances=5).shape
    (5,)
    >>> 0 <= strategy.sigma_ <= 2 / 3
    True
    """

    _parameter_constraints = {
        **PosteriorStrategy._parameter_constraints,
        "n_passes": [Interval(Integral, 2, None, closed="left")],
        "n_clusters": [Interval(Integral, 1, None, closed="left"), None],
        "linkage": [StrOptions({"single", "average", "complete"})],
        "beta": [StrOptions(set(_SCHEDULES)), Interval(Real, 0, None, closed="both"), callable],
        "scale": [Interval(Real, 0, None, closed="neither")],
        "max_candidates": [Interval(Integral, 1, None, closed="left"), None],
        "validation": [StrOptions({"labeled", "pool"}), "array-like", "sparse matrix"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        n_passes=100,
        n_clusters=None,
        linkage="single",
        beta="exp",
        scale=0.25,
        max_candidates=None,
        validation="labeled",
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(
            estimator,
            n_passes=n_passes,
            selector=selector,
            device=device,
            random_state=random_state,
        )
        self.n_clusters = n_clusters
        self.linkage = linkage
        self.beta = beta
        self.scale = scale
        self.max_candidates = max_candidates
        self.validation = validation

    def _represent(self, X):
        return Rows(self._mean_and_importance(X)[0])

    def _representation(self, X):
        """The mean probabilities, and the importance of the rows beside."""
        mean, importance = self._mean_and_importance(X)
        return Rows(mean), importance.cpu().numpy()

    def _mean_and_importance(self, X):
        """Tensors (n, n_classes) and (n,), float64; importance in bits."""
        means, importances = [], []
        for log_P in self._passes(X):
            P = log_P.exp()
            means.append(P.mean(0))
            importances.append(mutual_information(P) / math.log(2))
        return torch.cat(means), torch.cat(importances)

    # ------------------------------------------------------------------ temperature

    def _fit_labeled(self, X, y):
        super()._fit_labeled(X, y)
        self.sigma_ = self.beta_ = None
        if self.selector is not None:
            return
        if isinstance(self.beta, Real):
            self.beta_ = float(self.beta)
        elif not self._validates_on("pool"):
            self.sigma_ = self._uncertainty(self._validation_rows(X))
            self.beta_ = self._inverse_temperature(self.sigma_)

    def _batch_selector(self, X):
        if self.selector is not None:
            return clone(self.selector)
        beta = self.beta_
        if beta is None:
            beta = self._inverse_temperature(self._uncertainty(X))
        return AnnealedClusters(
            n_clusters=self.n_clusters,
            linkage=self.linkage,
            beta=beta,
            metric="jensenshannon",
            max_candidates=self.max_candidates,
        )

    def _validates_on(self, name):
        return isinstance(self.validation, str) and self.validation == name

    def _validation_rows(self, X_labeled):
        if self._validates_on("labeled"):
            return X_labeled
        if n_rows(self.validation) == 0:
            raise ValueError(
                "'validation' of DeAn must hold at least one row. Got none instead; use "
                "validation='labeled' or 'pool' if there are none to spare."
            )
        return validate_rows(self, self.validation, reset=False)

    def _uncertainty(self, X):
        """Mean variation ratio of the passes over the rows of `X`."""
        return float(torch.cat([share_of_minority(P) for P in self._passes(X)]).mean())

    def _inverse_temperature(self, sigma):
        if callable(self.beta):
            beta = self.beta(sigma)
            if not isinstance(beta, Real) or not beta >= 0:
                raise ValueError(
                    "'beta' of DeAn must return a number in [0, inf], the inverse temperature at "
                    f"an uncertainty of {sigma:.3g}. Got {beta!r} instead."
                )
            return float(beta)
        if sigma <= 0 or (self.beta != "log" and 1 / sigma > _OVERFLOWS):
            return np.inf
        return self.scale * max(0.0, _SCHEDULES[self.beta](sigma))
