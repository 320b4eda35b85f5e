"""BatchBALD: the batch whose labels together would tell most about the model."""

from numbers import Integral

import numpy as np
import torch

from skal.selection._engines.joint_entropy import joint_entropy_greedy
from skal.strategies._base import QueryStrategy
from skal.strategies._measures import mutual_information
from skal.strategies._posterior import PosteriorMixin
from skal.utils._compat import Interval
from skal.utils._tables import n_rows


class BatchBALD(PosteriorMixin, QueryStrategy):
    r"""Query the batch whose labels together would tell most about the model.

    The model is one of T that the labels leave possible: passes of a net with different units
    dropped, the same for all rows, or members of an ensemble. Rows are added one by one to the
    batch S, each time the one that lifts

    .. math:: I(y_S; \theta) = H(y_S) - \sum_{i \in S} \frac{1}{T} \sum_t H(p_t(i)) , \qquad
        p(y_S) = \frac{1}{T} \sum_t \prod_{i \in S} p_t(y_i \mid i)

    most. A row that the batch has answered already adds little, where :class:`BALD` would ask for
    every near copy of a row.

    Parameters
    ----------
    estimator : estimator or None, default=None
        A torch net with dropout layers, or an ensemble of independent classifiers (bagging,
        forests, voting), however wrapped. None means the estimator of the learner the strategy is
        plugged into.

    n_passes : int, default=50
        T, for a net. The information of a batch is at most ln T: large batches need many passes. An
        ensemble answers once per member.

    max_configurations : int, default=4000
        Of labels of the batch. All are counted while they are no more; then so many are drawn,
        afresh for every row that is added. More is less noise and more time.

    n_candidates : int or None, default=None
        Only so many rows of the pool, those of largest BALD score, are looked at; at least
        `n_instances`. None is all of them.

    device : str or None, default=None
        Where everything is computed ("cpu", "cuda:1"). None is the device of the net, or the CPU.

    random_state : int, RandomState or None, default=None
        Seeds which units are dropped, which configurations are drawn, and the breaking of ties.

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
        If no dropout layer runs in the net, there is neither a net nor an ensemble, or the
        estimator is a regressor. From `query`, if the answers of the candidates need more than
        4 GiB.

    See Also
    --------
    BALD : Each row on its own; much cheaper.
    BADGE : Diverse batches of any size, without dropout.

    Notes
    -----
    The batch depends on the pool as a whole: `query` does not go through a selector. The scores it
    returns, and `transform`, are those of BALD, in nats; the first row chosen is that of BALD.

    The information is submodular: a row's gain never grows. What it was earlier is a bound, as is
    what it is next to all but one of the rows chosen, and few rows are computed afresh; while all
    configurations are counted, the choice is that of plain greedy, except that gains within 1e-10
    of each other tie. Where configurations are sampled, what a tenth of them, or earlier samples,
    say of a row is its bound once three standard errors are added: a row whose gain is larger by
    less than the error of sampling may be missed. Cost per row added, in float64: at most O(n M T
    C) for n candidates and M configurations, a small part of it where candidates differ; memory
    O(n T C), the answers of the candidates.

    References
    ----------
    A. Kirsch, J. van Amersfoort and Y. Gal (2019). BatchBALD: efficient and diverse batch
    acquisition for deep Bayesian active learning. NeurIPS, arXiv:1906.08158, eqs. 8-14.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from skal.strategies import BatchBALD
    >>> X, y = load_iris(return_X_y=True)
    >>> forest = RandomForestClassifier(n_estimators=20, random_state=0)
    >>> strategy = BatchBALD(forest, random_state=0).fit(X[::10], y[::10])
    >>> strategy.query(X, n_instances=5).shape
    (5,)
    """

    _parameter_constraints = {
        **QueryStrategy._parameter_constraints,
        **PosteriorMixin._passes_constraints,
        "max_configurations": [Interval(Integral, 1, None, closed="left")],
        "n_candidates": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        n_passes=50,
        max_configurations=4000,
        n_candidates=None,
        device=None,
        random_state=None,
    ):
        super().__init__(estimator, device=device, random_state=random_state)
        self.n_passes = n_passes
        self.max_configurations = max_configurations
        self.n_candidates = n_candidates

    def _choose(self, X, n_instances, seed, return_scores):
        rng = np.random.RandomState(seed)
        candidates, P, scores = self._candidates(X, n_instances, rng)
        picks, _ = joint_entropy_greedy(
            P, n_instances, rng, max_configurations=self.max_configurations
        )
        return candidates[picks], scores

    def _candidates(self, X, n_instances, rng):
        """Positions of the candidates, their probabilities (n, C, T), and all BALD scores."""
        n = n_rows(X)
        limit = n if self.n_candidates is None else min(n, max(self.n_candidates, n_instances))
        rank = rng.permutation(n)
        rows, parts, scores = np.empty(0, dtype=np.int64), [], np.empty(0)
        for log_P in self._passes(X):
            P = log_P.exp()
            scores = np.append(scores, mutual_information(P).cpu().numpy())
            P = P.permute(1, 2, 0).contiguous()
            _check_size(limit, P)
            rows = np.append(rows, np.arange(len(scores) - len(P), len(scores)))
            parts.append(P)
            if len(rows) > 2 * limit or (len(rows) > limit and len(scores) == n):
                kept = np.sort(np.lexsort((rank[rows], -scores[rows]))[:limit])
                rows, parts = rows[kept], [torch.cat(parts)[torch.as_tensor(kept).to(P.device)]]
        return rows, torch.cat(parts), scores

    def _score(self, log_P):
        return mutual_information(log_P.exp())


_MAX_BYTES = 4 * 2**30


def _check_size(n_candidates, P):
    n_bytes = 8 * n_candidates * P.shape[1] * P.shape[2]
    if n_bytes > _MAX_BYTES:
        raise ValueError(
            f"BatchBALD keeps {P.shape[1]} x {P.shape[2]} probabilities of each of {n_candidates} "
            f"candidates, {n_bytes} bytes, more than {_MAX_BYTES}. Lower n_candidates or n_passes."
        )
