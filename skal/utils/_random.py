"""Random numbers that depend on a seed and a place, never on what was drawn before."""

import numpy as np
from sklearn.utils import check_random_state

# What is drawn for the rows of a pool from (seed, stream, position): one stream for each use.
RANKS, CLOCKS, CENTRE_RANKS = 0, 1, 2

_WORDS = 4  # of 64 bits, that one step of Philox makes


def draw_seed(random_state):
    """Draw one 31-bit integer seed from `random_state` (None, int or ``RandomState``)."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def child_seed(*entropy):
    """Return the 31-bit seed that belongs to a tuple of non-negative integers.

    The same tuple always gives the same seed; tuples that differ anywhere give seeds that are
    independent for all practical purposes (NumPy's ``SeedSequence``).
    """
    # The length comes first because a SeedSequence pads with zeros: (1,) and (1, 0) would agree.
    place = [len(entropy), *(int(part) for part in entropy)]
    state = np.random.SeedSequence(place).generate_state(1)
    return int(state[0] >> 1)


def uniforms(seed, stream, start, stop):
    """Draw one number in [0, 1) for each of the positions start..stop-1 of a pool.

    The number of a position depends on `seed`, `stream` and the position alone: a pool gives the
    same numbers whole, in blocks and on several machines.

    Parameters
    ----------
    seed : int
        In [0, 2**64), for instance from `draw_seed`.

    stream : int
        What the numbers are for: those of two streams are independent.

    start, stop : int
        The positions.

    Returns
    -------
    numbers : ndarray of shape (stop - start,), dtype float64
    """
    return (_words(seed, stream, start, stop) >> np.uint64(11)) * 2.0**-53


def random_ranks(seed, stop, *, stream=RANKS, start=0):
    """Rank the positions start..stop-1 of a pool at random: ndarray of int64 in [0, 2**62).

    As with `uniforms`, the rank of a position does not depend on the others. Two of a million
    positions have equal ranks once in ten million pools.
    """
    return (_words(seed, stream, start, stop) >> np.uint64(2)).astype(np.int64)


def _words(seed, stream, start, stop):
    """The 64-bit words start..stop-1 of a stream."""
    bits = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64))
    bits.advance(start // _WORDS)  # in steps that make several words each
    skipped = start % _WORDS
    return bits.random_raw(skipped + stop - start)[skipped:]


def set_random_states(estimator, seed, *, only_missing=False):
    """Give every `random_state` parameter of `estimator`, nested ones too, its own seed.

    A seed the user chose is mixed with `seed`, so that a fixed integer still draws afresh when
    `seed` changes. Estimators inside a ``FrozenEstimator`` are left alone, as are those of skorch
    nets whose parameters do not include one.

    Parameters
    ----------
    estimator : estimator
        Changed in place: pass a clone.

    seed : int
        Where the seeds are derived from.

    only_missing : bool, default=False
        Whether to leave alone the parameters that are not None.
    """
    values = estimator.get_params(deep=True)
    seeds = {}
    for position, name in enumerate(sorted(values)):
        if name != "random_state" and not name.endswith("__random_state"):
            continue
        own = values[name]
        if own is None:
            seeds[name] = child_seed(seed, position)
        elif not only_missing:
            seeds[name] = child_seed(seed, position, 1, _as_integer(own))
    if seeds:
        estimator.set_params(**seeds)


def _as_integer(random_state):
    """An integer that stands for a user's `random_state`, without advancing it."""
    if isinstance(random_state, np.random.RandomState):
        copy = np.random.RandomState()
        copy.set_state(random_state.get_state())
        return copy.randint(np.iinfo(np.int32).max)
    return int(random_state)
