"""Several answers to each row, as if from nets drawn at random: by dropout, or by a committee."""

from functools import partial

import torch

from skal.utils._tables import n_rows, take_rows
from skal.views._committee import committee_members, member_probabilities, stack_answers
from skal.views._dropout import dropout_log_probabilities

_NUMBERS = 2**21  # in the answers that are yielded at once
_ROWS = 1024  # at least: members of a forest cost a fixed time per call


def posterior_log_probabilities(view, X, n_passes, seed):
    """Stream what models drawn from an approximate posterior answer.

    Parameters
    ----------
    view : ModelView
        Of a net with dropout layers or an ensemble of independent classifiers.

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
    if view.has_net:
        yield from dropout_log_probabilities(view.net, X, n_passes, seed)
        return
    members = committee_members(view.predictor, view.estimator, view.owner)
    X = view.predictor_inputs(X)
    device = view.torch_device
    answer = partial(member_probabilities, owner=view.owner)
    n, start, size = n_rows(X), 0, _ROWS
    while start < n:
        stop = min(start + size, n)
        part = X if stop - start == n else take_rows(X, range(start, stop))
        P = stack_answers(members, answer, view.predictor, part)
        yield slice(start, stop), torch.log(P.to(device))
        start, size = stop, max(_ROWS, _NUMBERS // (P.shape[0] * P.shape[2]))
