"""Rows whose labels together tell most about the model: greedy, with stale gains as bounds.

T models give row i the probabilities P[i] of C x T numbers. With G[a, t] the probability that model
t gives the configuration a of labels of the rows chosen so far, the next one is to maximise

    H(y_S, y_i) - mean_t H(P[i, :, t]),    H(y_S, y_i) = -sum_{a, c} Q ln Q,    Q = G P[i]' / T .

The gain of a row given some rows is never more than given part of them: what it was earlier is a
bound, so is what it is without one of the chosen rows, and few rows are computed afresh. When not
all C^|S| configurations fit, they are drawn from the models, and bounds get three standard errors.
"""

import numpy as np
import torch

from skal.utils._memory import keep_freed_memory
from skal.utils._random import draw_seed, random_ranks

# Of float64 in the joint probabilities of one chunk of rows; on a CPU it stays in the cache.
_CHUNK_NUMBERS, _CPU_NUMBERS = 2**22, 2**17
_SCREENED = 10  # every so many drawn configurations are looked at first
_BLOCK = 8  # rows computed afresh at first, twice as many each time
_TINY = torch.finfo(torch.float64).tiny
_SLACK = 1e-10  # by which rounding may lift a gain above an earlier one


def joint_entropy_greedy(P, n_instances, rng, *, max_configurations=40_000):
    """Choose rows by the mutual information of their labels together and the model.

    Parameters
    ----------
    P : tensor of shape (n, C, T), dtype float64
        Class probabilities by T models.

    n_instances : int
        How many rows to choose.

    rng : RandomState
        Ranks rows of equal gain, and draws configurations.

    max_configurations : int, default=40000
        Configurations of labels are all counted up to so many, and as many are drawn beyond.

    Returns
    -------
    picks : ndarray of shape (n_instances,), dtype int64
        Distinct positions, in order of choice.

    gains : ndarray of shape (n,), dtype float64
        The mutual information of each row alone and the model, in nats.
    """
    keep_freed_memory()
    n, C, T = P.shape
    parts = [_entropies(P[a:b].flatten(1)) for a, b in _chunks(P, T)]
    conditional = torch.cat(parts) / T
    first = (_entropies(P.mean(2)) - conditional).clamp_min(0.0)
    bounds = first.clone()
    rank = torch.as_tensor(random_ranks(draw_seed(rng), n), device=P.device)
    chosen, current = [], first
    for _ in range(n_instances):
        if chosen:
            bounds[chosen[-1]] = -torch.inf
            joint, screens = _joint(P, chosen, max_configurations, rng)
            current = _refresh(bounds, joint, screens, P, conditional)
        chosen.append(_best(current, rank))
    return np.array(chosen, dtype=np.int64), first.cpu().numpy()


def _joint(P, chosen, max_configurations, rng):
    """What the chosen rows tell, and what all but one of them tell: cheaper, for bounds.

    Each of these costs a share 1 / C, and all at most half.
    """
    C = P.shape[1]
    if C ** (len(chosen) + 1) > max_configurations:
        drawn = _drawn(P, chosen, max_configurations, rng)
        return drawn, [_Drawn(drawn.shares[::_SCREENED])]
    without = [chosen[:j] + chosen[j + 1 :] for j in reversed(range(len(chosen)))][: C // 2]
    return _Configurations(P, chosen), [_Configurations(P, part) for part in without if part]


def _refresh(bounds, joint, screens, P, conditional):
    """Gains of the rows that may have the largest, -inf for others; lowers bounds in place."""
    gains = torch.full_like(bounds, -torch.inf)
    order = torch.argsort(bounds, descending=True)[: int((bounds > -torch.inf).sum())]
    best, start, size = -torch.inf, 0, _BLOCK
    while start < len(order) and bounds[order[start]] >= best - _SLACK:
        rows = order[start : start + size]
        start, size = start + size, 2 * size
        rows = rows[bounds[rows] >= best - _SLACK]
        n_before = len(rows)
        for screen in screens if best > -torch.inf else []:
            found, error = screen.gains(P[rows], conditional[rows])
            bounds[rows] = torch.minimum(bounds[rows], found + error)
            rows = rows[bounds[rows] >= best - _SLACK]
        if best > -torch.inf and len(rows) > n_before / 2:
            screens = []  # they are not worth their while
        if len(rows):
            gains[rows], error = joint.gains(P[rows], conditional[rows])
            bounds[rows] = gains[rows] + error
            best = max(best, float(gains[rows].max()))
    return gains


def _best(gains, rank):
    """The row of largest gain; among those that agree to 10 digits, the first in rank."""
    tied = torch.nonzero(gains >= gains.max() - _SLACK).ravel()
    return int(tied[rank[tied].argmin()])


class _Configurations:
    """All configurations of labels of some rows: G of shape (C^|S|, T)."""

    def __init__(self, P, chosen):
        G = P.new_ones((1, P.shape[2]))
        for row in chosen:
            G = (G[:, None, :] * P[row]).flatten(0, 1)
        self.shares = G / P.shape[2]
        self.entropy = _entropies(self.shares.sum(1)[None])

    def gains(self, P, conditional):
        """How much the mutual information grows by each row: (n,) from (n, C, T); no error."""
        values = torch.empty_like(conditional)
        for a, b in _chunks(P, len(self.shares)):
            values[a:b] = _entropies((P[a:b].flatten(0, 1) @ self.shares.T).view(b - a, -1))
        return values - self.entropy - conditional, 0.0


class _Drawn:
    """Configurations drawn from the mixture of the models, as shares G / sum_t G (M, T)."""

    def __init__(self, shares):
        self.shares = shares

    def gains(self, P, conditional):
        """Estimates of the same, and three standard errors of each."""
        values, errors = torch.empty_like(conditional), torch.empty_like(conditional)
        for a, b in _chunks(P, len(self.shares)):
            # p(label | configuration): entropies of it, averaged over what was drawn.
            Q = (P[a:b].flatten(0, 1) @ self.shares.T).view(b - a, P.shape[1], -1)
            drawn = _entropies(Q.mT)
            values[a:b] = drawn.mean(1)
            errors[a:b] = 3.0 * drawn.std(1, correction=0) / drawn.shape[1] ** 0.5
        return values - conditional, errors


def _drawn(P, chosen, n_draws, rng):
    """Draw the labels of the chosen rows, from each model as often."""
    T = P.shape[2]
    per_model = max(1, n_draws // T)
    log_G = P.new_zeros((per_model * T, T))
    model = torch.arange(T, device=P.device).repeat_interleave(per_model)
    for row in chosen:
        p = P[row]
        u = torch.as_tensor(rng.random_sample(len(model)), device=P.device)
        edges = p.cumsum(0)[:, model]
        labels = (u * edges[-1] >= edges).sum(0).clamp_max_(len(p) - 1)
        log_G += p.log()[labels]
    # Relative to the largest model: products of many probabilities underflow.
    return _Drawn(torch.softmax(log_G, 1))


def _entropies(Q):
    """-sum Q ln Q over the last axis, where 0 ln 0 = 0. Several times faster than torch's own."""
    return -torch.linalg.vecdot(Q, Q.clamp_min(_TINY).log_())


def _chunks(P, n_configurations):
    numbers = _CPU_NUMBERS if P.device.type == "cpu" else _CHUNK_NUMBERS
    size = max(1, numbers // (P.shape[1] * n_configurations))
    for a in range(0, len(P), size):
        yield a, min(a + size, len(P))
