"""EPIG: rows whose label would tell most about the labels of the rows that count.

    J_{x,*}  = (1/T) sum_t p_t(x) p_t(*)'                 joint probabilities of two labels
    EPIG(x)  = H(mean_t p_t(x)) + mean_* H(mean_t p_t(*)) - mean_* H(J_{x,*})

For regression the joint law of two predictions is Gaussian, with the covariance of the members and
noise s2 on the diagonal: EPIG(x) = mean_* -1/2 ln(1 - rho^2).
"""

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils import get_tags

from skal.selection import GumbelTopK
from skal.strategies._base import SelectingStrategy
from skal.utils._compat import Interval, StrOptions
from skal.utils._random import child_seed
from skal.utils._tables import n_rows, take_rows
from skal.utils._tags import QueryStrategyTags
from skal.utils.validation import validate_rows

_NUMBERS = 2**22  # joint probabilities held at a time
_MAX_PAIRS = 10**6  # n_targets times squared classes


class EPIG(SelectingStrategy):
    r"""Query rows whose label would tell most about the labels of target rows.

    T models drawn from a posterior, passes of a net with dropout or members of an ensemble, give
    each row class probabilities :math:`p_t`. BALD asks what a label tells about the model; EPIG
    what it tells about predictions that count: the mutual information of the labels of a row x and
    of a target :math:`x_*`, in nats, averaged over targets,

    .. math:: \frac{1}{|*|} \sum_* I(y; y_*), \qquad
        p(y, y_*) = \frac{1}{T} \sum_t p_t(y | x) \, p_t(y_* | x_*) .

    Parameters
    ----------
    estimator : estimator or None, default=None
        A torch net with dropout layers, or an ensemble of independent members, however wrapped; for
        regression an ensemble. None means the estimator of the learner the strategy is plugged
        into.

    n_passes : int, default=50
        T, for a net. An ensemble answers once per member.

    targets : "pool" or array-like of shape (n_rows, n_features), default="pool"
        The rows whose predictions count: a sample of the pool, or rows as they will be asked about
        later, in the columns of the pool.

    n_targets : int, default=1000
        How many of them are used, drawn at random if there are more; at most 1e6 divided by the
        squared number of classes.

    noise : float or None, default=None
        Variance of the noise of the target, for regression, in its squared units. None is the mean
        squared residual of the labelled rows, and a share of 1e-6 of the variance of their labels
        at least.

    selector : BatchSelector or None, default=None
        Picks the batch from the scores. None is :class:`~skal.selection.GumbelTopK`: the largest
        scores of EPIG are often near copies, and a batch of them is worse than random.

    device : str or None, default=None
        Where everything is computed ("cpu", "cuda:1"). None is the device of the net, or the CPU.

    random_state : int, RandomState or None, default=None
        Seeds which units are dropped, the targets that are drawn, and the selector.

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
    ValueError
        If no dropout layer runs in the net, there is neither a net nor an ensemble, or `fit` gets
        no labels and `noise` is None, for regression.

    See Also
    --------
    BALD : What a label tells about the model; an upper bound.

    Notes
    -----
    0 where all models agree, on the row or on all targets. With ``targets="pool"``, targets are
    drawn from the rows a score is asked for, so that scores depend on these; `transform` takes its
    targets from the labelled rows instead, which treats every row on its own. Cost:
    O(n_pool n_targets T C^2): 10,000 rows, 10 classes, 50 passes and 1,000 targets take ten seconds
    on a core.

    References
    ----------
    F. Bickford Smith, A. Kirsch, S. Farquhar, Y. Gal, A. Foster and T. Rainforth (2023).
    Prediction-oriented Bayesian active learning. AISTATS, arXiv:2304.08151, equations (9) and
    (10).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from skal.strategies import EPIG
    >>> X, y = load_iris(return_X_y=True)
    >>> forest = RandomForestClassifier(n_estimators=10, random_state=0)
    >>> strategy = EPIG(forest, random_state=0).fit(X[::10], y[::10])
    >>> strategy.query(X, n_instances=5).shape
    (5,)
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        "n_passes": [Interval(Integral, 1, None, closed="left")],
        "targets": [StrOptions({"pool"}), "array-like", "sparse matrix"],
        "n_targets": [Interval(Integral, 1, None, closed="left")],
        "noise": [Interval(Real, 0, None, closed="neither"), None],
    }
    _query_tags = QueryStrategyTags(needs=("probabilities", "stochastic_passes"))
    _default_selector = GumbelTopK()

    def __init__(
        self,
        estimator=None,
        *,
        n_passes=50,
        targets="pool",
        n_targets=1000,
        noise=None,
        selector=None,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.n_passes = n_passes
        self.targets = targets
        self.n_targets = n_targets
        self.noise = noise

    def _fit_labeled(self, X, y):
        self._X_labeled = X
        self._noise_variance = self._noise(X, y) if self._regression() else None

    def _regression(self):
        return get_tags(self.estimator_).estimator_type == "regressor"

    def _noise(self, X, y):
        if self.noise is not None:
            return float(self.noise)
        if y is None:
            raise ValueError(
                f"{type(self).__name__}(noise=None) needs the labels of a regressor: fit(X, y)."
            )
        y = np.asarray(y, dtype=np.float64).reshape(n_rows(X), -1)
        predicted = np.asarray(self.estimator_.predict(X), dtype=np.float64).reshape(y.shape)
        floor = 1e-6 * float(y.var()) or 1e-12
        return max(float(np.mean((y - predicted) ** 2)), floor)

    def _represent(self, X):
        return self._informations(X, self._X_labeled)

    def _pool_representation(self, X):
        return self._read(self._informations(X, X))

    def _informations(self, X, pool):
        """EPIG of the rows of `X`, with targets from `pool` unless there are own ones."""
        targets = self._draw_targets(pool)
        if self._regression():
            return self._gaussian(X, targets)
        return self._discrete(X, targets)

    def _draw_targets(self, pool):
        own = not isinstance(self.targets, str)
        rows = validate_rows(self, self.targets, reset=False) if own else pool
        n_targets = self.n_targets
        if not self._regression():
            n_targets = max(1, min(n_targets, _MAX_PAIRS // len(self.estimator_.classes_) ** 2))
        if n_rows(rows) <= n_targets:
            return rows
        rng = np.random.RandomState(child_seed(self._seed, 3))
        return take_rows(rows, np.sort(rng.permutation(n_rows(rows))[:n_targets]))

    def _passes(self, X):
        # The same seed for rows and targets: the same models answer.
        for _, log_P in self.view.passes(X, self.n_passes, child_seed(self._seed, 2)):
            yield log_P.exp()

    def _discrete(self, X, targets):
        of_targets = torch.cat(list(self._passes(targets)), dim=1)
        return torch.cat([expected_information(P, of_targets) for P in self._passes(X)])

    def _gaussian(self, X, targets):
        of_targets = self.view.members(targets, "predictions")
        f = self.view.members(X, "predictions")
        return gaussian_information(f, of_targets, self._noise_variance)


def expected_information(P, P_targets):
    """Mutual information of labels, averaged over targets.

    Parameters
    ----------
    P : tensor of shape (T, n, C), dtype float64
        Class probabilities of rows by model.

    P_targets : tensor of shape (T, m, C), dtype float64
        Those of the targets, by the same models.

    Returns
    -------
    scores : tensor of shape (n,), dtype float64
        In nats, not negative.
    """
    T, n, C = P.shape
    entropies = torch.special.entr(P.mean(0)).sum(1)
    of_targets = torch.special.entr(P_targets.mean(0)).sum(1).mean()
    right = P_targets.reshape(T, -1)
    step = max(1, _NUMBERS // (C * right.shape[1]))
    joint = torch.empty(n, dtype=P.dtype, device=P.device)
    for a in range(0, n, step):
        left = P[:, a : a + step].reshape(T, -1)
        terms = torch.special.entr(left.T @ right / T).sum(1)
        joint[a : a + step] = terms.reshape(-1, C).sum(1) / P_targets.shape[1]
    return (entropies + of_targets - joint).clamp_min_(0.0)


def gaussian_information(f, f_targets, noise):
    """Mutual information of noisy predictions, averaged over targets and outputs.

    Parameters
    ----------
    f : tensor of shape (T, n) or (T, n, k), dtype float64
        Predictions by member.

    f_targets : tensor of shape (T, m) or (T, m, k), dtype float64
        Those of the targets.

    noise : float
        Variance of the noise, above 0.

    Returns
    -------
    scores : tensor of shape (n,), dtype float64
        In nats, not negative.
    """
    f, f_targets = (part.reshape(*part.shape[:2], -1) for part in (f, f_targets))
    f, f_targets = f - f.mean(0), f_targets - f_targets.mean(0)
    total = torch.zeros(f.shape[1], dtype=f.dtype, device=f.device)
    step = max(1, _NUMBERS // f_targets.shape[1])
    for k in range(f.shape[2]):
        left, right = f[:, :, k], f_targets[:, :, k]
        variances = right.square().mean(0) + noise
        for a in range(0, f.shape[1], step):
            part = left[:, a : a + step]
            covariance = part.T @ right / len(f)
            own = part.square().mean(0) + noise
            rho2 = covariance.square() / (own[:, None] * variances)
            total[a : a + step] += -0.5 * torch.log1p(-rho2).mean(1)
    return total / f.shape[2]
