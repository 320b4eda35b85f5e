"""The largest scores, drawn: in proportion to a power of them, without replacement."""

from numbers import Real

import numpy as np

from skal.selection._topk import TopK
from skal.utils._compat import Interval, StrOptions


class GumbelTopK(TopK):
    r"""Draw rows without replacement, the more likely the larger their score.

    The n rows of largest score are often near copies of each other. A batch that is drawn instead
    spreads, at no cost: it takes the n largest keys

    ==========  ================================================  ================================
    `kind`      key of a row with score s, rank r (1 is best)     each draw in proportion to
    ==========  ================================================  ================================
    "power"     :math:`\beta \ln s + G`                           :math:`s^\beta`
    "softmax"   :math:`\beta s + G`                               :math:`e^{\beta s}`
    "softrank"  :math:`-\beta \ln r + G`                          :math:`r^{-\beta}`
    ==========  ================================================  ================================

    with independent Gumbel variables G.

    Parameters
    ----------
    kind : {"power", "softmax", "softrank"}, default="power"
        What the chances are proportional to. "power" needs scores that are not negative; rows of
        score 0 come last, at random. "softrank" looks at the order alone.

    coldness : float, default=1.0
        :math:`\beta`. 0 is a uniform draw; the larger, the closer to the largest scores.

    random_state : int, RandomState or None, default=None
        Seeds the draws, and ranks rows of equal score for "softrank".

    See Also
    --------
    TopK : The largest scores themselves.

    Notes
    -----
    The n largest keys are n draws one after the other, each in proportion among the rows that are
    left (the Gumbel trick), so the first rows of a larger batch are the smaller batch. The scores
    are `scores` where given, else the single column of `Z`. Cost: O(n_pool log n_pool).
    With ``return_scores=True``, `select` returns the scores.

    With a strategy: ``BALD(selector=GumbelTopK())`` is PowerBALD. Scores such as those of
    :class:`~skal.strategies.MarginSampling` are negative: use "softrank" there.

    References
    ----------
    A. Kirsch, S. Farquhar, P. Atighehchian, A. Jesson, F. Branchaud-Charron and Y. Gal (2023).
    Stochastic batch acquisition: a simple baseline for deep active learning. TMLR,
    arXiv:2106.12059, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skal.selection import GumbelTopK
    >>> scores = np.array([0.0, 1.0, 0.0, 3.0])
    >>> sorted(GumbelTopK(random_state=0).select(scores[:, None], 2).tolist())
    [1, 3]
    """

    _parameter_constraints: dict = {
        **TopK._parameter_constraints,
        "kind": [StrOptions({"power", "softmax", "softrank"})],
        "coldness": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, *, kind="power", coldness=1.0, random_state=None):
        super().__init__(random_state=random_state)
        self.kind = kind
        self.coldness = coldness

    def _select(self, rows, n_instances, rows_labeled, scores, rng):
        scores = self._values(rows, rows_labeled, scores)
        gumbel = rng.gumbel(size=len(scores))
        if self.kind == "softmax":
            keys = self.coldness * scores + gumbel
        elif self.kind == "softrank":
            order = np.lexsort((rng.permutation(len(scores)), -scores))
            keys = np.empty(len(scores))
            keys[order] = gumbel[order] - self.coldness * np.log(np.arange(1, len(scores) + 1))
        else:
            keys = self._power_keys(scores) + gumbel
        # Scores of 0 have no chance: they come last, in the order of their draws.
        return np.lexsort((-gumbel, -keys))[:n_instances]

    def _power_keys(self, scores):
        if scores.min() < 0:
            worst = int(scores.argmin())
            raise ValueError(
                f"{type(self).__name__}(kind='power') needs scores that are not negative. Got "
                f"{scores[worst]:.4g} in row {worst} instead. Use kind='softrank', which looks at "
                "their order alone."
            )
        if self.coldness == 0:
            return np.zeros(len(scores))
        with np.errstate(divide="ignore"):
            return self.coldness * np.log(scores)
