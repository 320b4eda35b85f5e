"""Several answers to each row, as if from nets drawn at random: by dropout, or by a committee."""

from numbers import Integral

import torch

from skal.strategies._base import SelectingStrategy
from skal.utils._compat import Interval
from skal.utils._random import child_seed
from skal.utils._tags import QueryStrategyTags


class PosteriorMixin:
    """What strategies share that ask models drawn from a posterior, `n_passes` of them."""

    _query_tags = QueryStrategyTags(
        needs=("probabilities", "stochastic_passes"), tasks=("classifier",)
    )
    _passes_constraints = {"n_passes": [Interval(Integral, 1, None, closed="left")]}

    def _passes(self, X):
        """Stream log-probabilities (T, n, C) of the rows of `X`, float64, in chunks of rows."""
        # A child seed of its own: dropout masks must not depend on the tie-breaking.
        for _, log_P in self.view.passes(X, self.n_passes, child_seed(self._seed, 2)):
            yield log_P

    def _represent(self, X):
        return torch.cat([self._score(log_P) for log_P in self._passes(X)])

    def _score(self, log_P):
        raise NotImplementedError(f"{type(self).__name__} must define _score(log_P).")


class PosteriorStrategy(PosteriorMixin, SelectingStrategy):
    """Base of strategies that score each row by what models drawn from a posterior answer.

    A subclass writes `_score`, from log-probabilities (T, n, C) to scores (n,), tensors of float64.
    """

    _parameter_constraints = {
        **SelectingStrategy._parameter_constraints,
        **PosteriorMixin._passes_constraints,
    }

    def __init__(
        self, estimator=None, *, n_passes=50, selector=None, device=None, random_state=None
    ):
        super().__init__(estimator, selector=selector, device=device, random_state=random_state)
        self.n_passes = n_passes
