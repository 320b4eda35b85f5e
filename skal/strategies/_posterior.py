"""Several answers to each row, as if from nets drawn at random: by dropout, or by a committee."""

from numbers import Integral

import torch

from skal.strategies._base import QueryStrategy
from skal.utils._compat import Interval
from skal.utils._random import child_seed
from skal.utils._tags import QueryStrategyTags
from skal.views._posterior import posterior_log_probabilities


class PosteriorStrategy(QueryStrategy):
    """Base of strategies that score each row by what models drawn from a posterior answer.

    A subclass writes `_score`, from log-probabilities (T, n, C) to scores (n,), tensors of float64.
    """

    _parameter_constraints = {
        **QueryStrategy._parameter_constraints,
        "n_passes": [Interval(Integral, 1, None, closed="left")],
    }
    _query_tags = QueryStrategyTags(
        needs=("probabilities", "stochastic_passes"), tasks=("classifier",)
    )

    def __init__(
        self, estimator=None, *, n_passes=50, selector=None, device=None, random_state=None
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.n_passes = n_passes

    def _passes(self, X):
        """Stream log-probabilities (T, n, C) of the rows of `X`, float64, in chunks of rows."""
        # Apart from the seed of ties.
        seed = child_seed(self._seed, 2)
        for _, log_P in posterior_log_probabilities(self, X, self.n_passes, seed):
            yield log_P

    def _represent(self, X):
        return torch.cat([self._score(log_P) for log_P in self._passes(X)])

    def _score(self, log_P):
        raise NotImplementedError(f"{type(self).__name__} must define _score(log_P).")
