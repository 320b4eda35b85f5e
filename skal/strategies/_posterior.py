"""Several answers to each row, as if from nets drawn at random: by dropout, or by a committee."""

from functools import partial
from numbers import Integral

import torch

from skal.neural_network import NetView, has_net, predictor_inputs, unwrap
from skal.neural_network._dropout import dropout_log_probabilities
from skal.strategies._base import QueryStrategy
from skal.strategies._committee import _members, _probabilities, _stack
from skal.utils._compat import Interval
from skal.utils._random import child_seed
from skal.utils._tables import n_rows, take_rows
from skal.utils._tags import QueryStrategyTags

_NUMBERS = 2**21  # in the answers that are yielded at once
_ROWS = 1024  # at least: members of a forest cost a fixed time per call


def posterior_log_probabilities(strategy, X, n_passes, seed):
    """Stream what models drawn from an approximate posterior answer.

    Parameters
    ----------
    strategy : QueryStrategy
        A fitted strategy; its estimator is a net with dropout layers or an ensemble of independent
        classifiers.

    X : array-like of shape (n_samples, n_features)
        Rows as the estimator takes them.

    n_passes : int
        T, the number of passes of a net with dropout. An ensemble answers once per member.

    seed : int
        Says which units are dropped; they are the same for all rows. Members leave nothing to
        chance.

    Yields
    ------
    rows : slice
        Positions in `X`, in order.

    log_P : tensor of shape (T, n_rows, n_classes), dtype float64
        Natural logarithms of the probabilities, minus infinity for classes that a member excludes.

    Raises
    ------
    ValueError
        If no dropout layer runs in the net, there is no net and no ensemble, or their answers are
        no probabilities.
    """
    estimator, owner = strategy.estimator_, type(strategy).__name__
    if has_net(estimator):
        view = NetView(estimator, device=strategy.device, needed_by=owner)
        yield from dropout_log_probabilities(view, X, n_passes, seed)
        return
    ensemble = unwrap(estimator)
    members = _members(ensemble, estimator, owner)
    X = predictor_inputs(estimator, X)
    device = strategy._torch_device()
    answer = partial(_probabilities, owner=owner)
    n, start, size = n_rows(X), 0, _ROWS
    while start < n:
        stop = min(start + size, n)
        part = X if stop - start == n else take_rows(X, range(start, stop))
        P = _stack(members, answer, ensemble, part)
        yield slice(start, stop), torch.log(P.to(device))
        start, size = stop, max(_ROWS, _NUMBERS // (P.shape[0] * P.shape[2]))


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
