"""Rows whose labels together tell most about the model: greedy, with stale gains as bounds.

T models give row i the probabilities P[i] of C x T numbers. With G[a, t] the probability that model
t gives the configuration a of labels of the rows chosen so far, the next one is to maximise

    H(y_S, y_i) - mean_t H(P[i, :, t]),    H(y_S, y_i) = -sum_{a, c} Q ln Q,    Q = G P[i]' / T .

While all C^|S| configurations fit, the gain of a row can only fall as S grows: what it was earlier
is a bound, and few rows are computed afresh. Afterwards configurations are drawn from the models.
"""

import numpy as np
import torch

_CHUNK_NUMBERS = 2**20  # of float64 in the joint probabilities of one chunk of rows
_BLOCK = 64  # rows computed afresh at once
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
    n, C, T = P.shape
    conditional = torch.special.entr(P).sum(1).mean(1)
    entropy = torch.special.entr(P.mean(2)).sum(1)
    first = (entropy - conditional).clamp_min(0.0)
    bounds = first.clone()
    rank = torch.as_tensor(rng.permutation(n), device=P.device)
    joint, chosen, drawn = _Configurations(P), [], False
    for _ in range(n_instances):
        if chosen:
            drawn = drawn or len(joint) * C > max_configurations
            if drawn:
                joint = _drawn(P, chosen, max_configurations, rng)
                bounds = joint.gains(P, conditional)
                bounds[chosen] = -torch.inf
            else:
                joint = joint.with_row(P[chosen[-1]])
                bounds[chosen] = -torch.inf
                _refresh(bounds, joint, P, conditional)
        chosen.append(_best(bounds, rank))
    return np.array(chosen, dtype=np.int64), first.cpu().numpy()


def _refresh(bounds, joint, P, conditional):
    """Lower bounds to gains until the largest are gains, in place."""
    order = torch.argsort(bounds, descending=True)
    best, size = -torch.inf, _BLOCK
    for a in range(0, len(order), size):
        rows = order[a : a + size]
        if bounds[rows[0]] < best - _SLACK:
            return
        rows = rows[bounds[rows] > -torch.inf]
        if len(rows):
            bounds[rows] = joint.gains(P[rows], conditional[rows])
            best = max(best, float(bounds[rows].max()))


def _best(gains, rank):
    """The row of largest gain; among those that agree to 10 digits, the first in rank."""
    tied = torch.nonzero(gains >= gains.max() - _SLACK).ravel()
    return int(tied[rank[tied].argmin()])


class _Configurations:
    """All configurations of labels of the chosen rows: G of shape (C^|S|, T)."""

    def __init__(self, P, G=None):
        self.G = P.new_ones((1, P.shape[2])) if G is None else G
        mean = self.G.mean(1)
        self.entropy = float(torch.special.entr(mean).sum())

    def __len__(self):
        return len(self.G)

    def with_row(self, p):
        """The configurations with the labels of one more row, of probabilities (C, T)."""
        return _Configurations(p[None], (self.G[:, None, :] * p).flatten(0, 1))

    def gains(self, P, conditional):
        """How much the mutual information grows by each row: (n,) from (n, C, T)."""
        T = self.G.shape[1]
        values = torch.empty_like(conditional)
        for a, b in _chunks(P, len(self)):
            Q = (P[a:b].flatten(0, 1) @ self.G.T).div_(T)
            values[a:b] = -torch.xlogy(Q, Q).view(b - a, -1).sum(1)
        return values - self.entropy - conditional


class _Drawn:
    """Configurations drawn from the mixture of the models, as shares G / mean_t G (M, T)."""

    def __init__(self, log_G):
        # Relative to the largest model: products of many probabilities underflow.
        G = (log_G - log_G.max(1, keepdim=True).values).exp()
        self.shares = G / G.mean(1, keepdim=True)

    def gains(self, P, conditional):
        M, T = self.shares.shape
        values = torch.empty_like(conditional)
        for a, b in _chunks(P, M):
            # p(label | configuration): entropies of it, averaged over what was drawn.
            Q = (P[a:b].flatten(0, 1) @ self.shares.T).div_(T)
            values[a:b] = -torch.xlogy(Q, Q).view(b - a, -1).sum(1) / M
        return values - conditional


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
    return _Drawn(log_G)


def _chunks(P, n_configurations):
    size = max(1, _CHUNK_NUMBERS // (P.shape[1] * n_configurations))
    for a in range(0, len(P), size):
        yield a, min(a + size, len(P))
